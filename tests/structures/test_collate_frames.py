"""Batches of bytes, in order, and nothing but tensors across the border of a process."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.structures import collate_frames

ANN_FILE = 'annotations/EXPR_Recognition_Challenge/Train_Set'


@pytest.mark.parametrize('workers', [0, 2])
def test_batch_holds_what_the_dataset_does(tiny, workers):
    dataset = AffWild2Dataset(
        data_root=str(tiny), ann_file=ANN_FILE, pipeline=[dict(type='LoadFaceCrop')]
    )
    loader = DataLoader(dataset, batch_size=16, num_workers=workers, collate_fn=collate_frames)
    row = 0
    for batch in loader:
        assert all(isinstance(column, torch.Tensor) for column in batch.values())
        assert batch['inputs'].dtype == torch.uint8
        clips = batch['clips'].numpy().tobytes().decode().split('\0')
        for i, image in enumerate(batch['inputs'].numpy()):
            frame = dataset[row]
            np.testing.assert_array_equal(image, frame['img'])
            assert clips[batch['clip_id'][i]] == frame['clip']
            for name in ('gt_label', 'sample_idx', 'frame_no'):
                assert batch[name][i] == frame[name]
            row += 1
    assert row == len(dataset)


def test_labels_of_all_frames_or_of_none():
    frames = [
        dict(img=np.zeros((4, 4, 3), np.uint8), clip='a\nb', frame_no=i, sample_idx=i)
        for i in range(3)
    ]
    assert 'gt_label' not in collate_frames(frames)
    frames[1]['gt_label'] = 2
    for some in (frames, frames[1:], frames[:2]):
        with pytest.raises(ValueError, match='labels of 1 of [23] frames'):
            collate_frames(some)


def test_hidden_labels_stay_out(tiny):
    dataset = AffWild2Dataset(
        data_root=str(tiny), ann_file='test_set_format.txt', pipeline=[dict(type='LoadFaceCrop')]
    )
    assert 'gt_label' not in collate_frames([dataset[0], dataset[2]])


def test_crops_of_two_sizes_are_told():
    frames = [
        dict(img=np.zeros((size, size, 3), np.uint8), img_path=f'{size}.jpg') for size in (112, 96)
    ]
    with pytest.raises(ValueError, match=r'got 96\.jpg of 96x96 pixels and 112\.jpg of 112x112'):
        collate_frames(frames)


@pytest.mark.parametrize(
    'frame, got',
    [
        (dict(img=np.zeros((4, 4, 3), np.float32)), 'got float32'),  # a Normalize in the pipeline
        (dict(inputs=0, data_samples=0), r"got frames with \['data_samples', 'inputs'\]"),
    ],
)
def test_frames_that_are_made_ready_already_are_told(frame, got):
    with pytest.raises(ValueError, match=f'{got}, expected img as uint8; .*plain.py'):
        collate_frames([frame])
