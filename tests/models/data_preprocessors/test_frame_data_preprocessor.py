"""FrameDataPreprocessor: batches equal those of mmpretrain's transforms, frame by frame."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmpretrain.datasets.transforms import PackInputs, RandomResizedCrop
from mmpretrain.registry import MODELS, TRANSFORMS
from scipy import stats

from abaw_mm.datasets.samplers.keyed_random import random_keys, uniform
from abaw_mm.models import FrameDataPreprocessor
from abaw_mm.models.data_preprocessors.batch_crops import (
    MAX_ATTEMPTS,
    crop_and_resize_by_grid,
    crop_and_resize_by_opencv,
    random_resized_boxes,
)
from abaw_mm.structures import collate_frames

NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def make_frames(number=6, height=112, width=112):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (number, height // 8, width // 8, 3))
    images = np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)
    return [
        dict(
            img=image,
            img_path=f'{i}.jpg',
            gt_label=i % 8,
            sample_idx=i,
            clip=f'c{i // 4}',
            frame_no=i + 1,
        )
        for i, image in enumerate(images)
    ]


def run_plain_pipeline(transforms, some):
    """Apply transforms of mmpretrain and ``ClsDataPreprocessor`` to frames."""
    pipeline = Compose([TRANSFORMS.build(t) for t in transforms])
    pack = PackInputs()
    batch = pseudo_collate([pack(pipeline(dict(frame))) for frame in some])
    preprocess = MODELS.build(dict(type='ClsDataPreprocessor', to_rgb=True, **NORM))
    return preprocess(batch, training=False)['inputs']


@pytest.mark.parametrize(('height', 'width'), [(112, 112), (112, 96), (96, 120)])
def test_evaluation_equals_plain_pipeline(height, width):
    some = make_frames(height=height, width=width)
    expected = run_plain_pipeline(
        [dict(type='ResizeEdge', scale=256, edge='short'), dict(type='CenterCrop', crop_size=224)],
        some,
    )
    data = FrameDataPreprocessor(**NORM)(collate_frames(some), training=False)
    assert data['inputs'].shape == (6, 3, 224, 224)
    assert torch.equal(data['inputs'], expected)
    (batch,) = data['data_samples']
    assert batch.gt_label.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.clips == ['c0', 'c1'] and batch.clip_id.tolist() == [0, 0, 0, 0, 1, 1]


def test_random_crop_equals_plain_crop_of_the_same_box():
    some = make_frames()
    key = random_keys(0, 3, np.arange(6))
    batch = dict(collate_frames(some), key=key)
    ours = FrameDataPreprocessor(**NORM)(batch, training=True)['inputs']
    numbers = uniform(key, 1 + 4 * MAX_ATTEMPTS)
    boxes = random_resized_boxes(numbers[:, 1:], 112, 112, (0.6, 1.0), (1.0, 1.0))
    for i, (left, top, width, height) in enumerate(boxes):
        frame = dict(some[i], img=some[i]['img'][top : top + height, left : left + width])
        flip = dict(type='RandomFlip', prob=float(numbers[i, 0] < 0.5), direction='horizontal')
        expected = run_plain_pipeline([dict(type='Resize', scale=(224, 224)), flip], [frame])
        assert torch.equal(ours[i : i + 1], expected)


@pytest.mark.parametrize(
    ('height', 'width', 'share', 'aspect'),
    [
        (112, 112, (0.6, 1.0), (1.0, 1.0)),
        (112, 112, (0.08, 1.0), (3 / 4, 4 / 3)),
        (60, 100, (0.6, 1.0), (1.0, 1.0)),
    ],
)
def test_distribution_of_boxes_equals_mmpretrain(height, width, share, aspect):
    size = 4000
    transform = RandomResizedCrop(224, crop_ratio_range=share, aspect_ratio_range=aspect)
    np.random.seed(0)
    image = np.zeros((height, width, 3), np.uint8)
    expected = np.array([transform.rand_crop_params(image) for _ in range(size)])[:, [1, 0, 3, 2]]
    numbers = uniform(random_keys(0, 0, np.arange(size)), 4 * MAX_ATTEMPTS)
    boxes = random_resized_boxes(numbers, height, width, share, aspect)
    for ours, theirs in zip(boxes.T, expected.T, strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
        assert (ours.min(), ours.max()) == pytest.approx((theirs.min(), theirs.max()), abs=2)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= width).all()
    assert (boxes[:, 1] + boxes[:, 3] <= height).all()


def test_crops_depend_on_key_and_epoch():
    batch = collate_frames(make_frames(1) * 8)
    preprocess = FrameDataPreprocessor(**NORM)
    first, again, next_epoch = (
        preprocess(dict(batch, key=random_keys(0, epoch, np.arange(8))), training=True)['inputs']
        for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert all(not torch.equal(a, b) for a, b in zip(first, next_epoch, strict=True))
    assert all(not torch.equal(first[0], other) for other in first[1:])


def test_half_of_the_frames_are_flipped():
    images = torch.zeros(400, 2, 2, 3, dtype=torch.uint8)
    images[:, :, 1] = 255
    batch = dict(collate_frames(make_frames(400, 8, 8)), inputs=images)
    batch['key'] = random_keys(0, 0, np.arange(400))
    preprocess = FrameDataPreprocessor([0] * 3, [1] * 3, crop_size=2, resize_edge=2)
    inputs = preprocess(batch, training=True)['inputs']
    flipped = inputs[:, 0, 0, 0] > inputs[:, 0, 0, 1]
    assert 0.42 < flipped.float().mean() < 0.58


def test_grid_sample_equals_opencv_within_one_grey_value():
    """OpenCV rounds."""
    images = collate_frames(make_frames(16))['inputs']
    numbers = uniform(random_keys(0, 0, np.arange(16)), 4 * MAX_ATTEMPTS)
    boxes = random_resized_boxes(numbers, 112, 112, (0.3, 1.0), (0.7, 1.4))
    flip = np.arange(16) % 2 == 0
    for size in ((224, 224), (64, 80)):
        by_opencv = crop_and_resize_by_opencv(
            images, boxes, flip, size, (0, 0, *size), torch.zeros(1), torch.ones(1), to_rgb=False
        )
        by_grid = crop_and_resize_by_grid(images, boxes, flip, size)
        assert by_grid.shape == by_opencv.shape == (16, 3, *size)
        assert (by_grid - by_opencv).abs().max() <= 1.01


def test_batch_of_another_collate_function_raises():
    with pytest.raises(ValueError, match='collate_frames'):
        FrameDataPreprocessor(**NORM)(dict(inputs=[], data_samples=[]))


def test_training_batch_without_keys_raises():
    with pytest.raises(ValueError, match='without keys'):
        FrameDataPreprocessor(**NORM)(collate_frames(make_frames()), training=True)


def test_resize_edge_below_crop_size_raises():
    with pytest.raises(ValueError, match='resize_edge=200'):
        FrameDataPreprocessor(**NORM, resize_edge=200)
