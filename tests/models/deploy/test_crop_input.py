"""Test the preprocessing inside exported networks against OpenCV and the test pipeline."""

import cv2
import numpy as np
import pytest
import torch

from abaw_mm.models import FrameDataPreprocessor
from abaw_mm.models.deploy.crop_input import CropInput, Preprocessing

PLAIN = dict(mean=(0.0,) * 3, std=(1.0,) * 3)


def make_crops(size, number=3):
    return np.random.default_rng(size).integers(0, 256, (number, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    'size, resize',
    [(112, 256), (112, 128), (112, 112), (112, 91), (112, 56), (112, 37), (112, 448), (64, 255)],
)
def test_pixels_are_those_of_opencv(size, resize):
    crops = make_crops(size)
    want = np.stack([cv2.resize(crop, (resize, resize)) for crop in crops]).astype(np.float32)
    got = CropInput(Preprocessing(size, resize, resize, **PLAIN))(torch.from_numpy(crops))
    np.testing.assert_array_equal(got.permute(0, 2, 3, 1), want)


@pytest.mark.parametrize('crop', [224, 225, 256])
@pytest.mark.parametrize('to_rgb', [True, False])
def test_input_is_that_of_the_test_pipeline(crop, to_rgb):
    mean, std = (120.0, 110.0, 100.0), (50.0, 60.0, 70.0)
    crops = torch.from_numpy(make_crops(112))
    pipeline = FrameDataPreprocessor(mean, std, to_rgb, crop_size=crop, resize_edge=256)
    batch = dict(inputs=crops.flip(-1), clip_id=torch.zeros(3), clips=['a'])
    batch.update(frame_no=torch.arange(3), sample_idx=torch.arange(3))
    got = CropInput(Preprocessing(112, 256, crop, mean, std, to_rgb))(crops)
    torch.testing.assert_close(got, pipeline(batch)['inputs'], rtol=0, atol=0)


def test_centre_is_cut_without_resizing():
    crops = make_crops(112)
    got = CropInput(Preprocessing(112, 112, 90, **PLAIN))(torch.from_numpy(crops))
    np.testing.assert_array_equal(got.permute(0, 2, 3, 1), crops[:, 11:101, 11:101])
