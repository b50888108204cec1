"""Tests of the batches that workers send: content, order, labels and refused frames."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.structures import collate_frames

ANN_FILE = 'annotations/EXPR_Recognition_Challenge/Train_Set'
PIPELINE = [dict(type='LoadFaceCrop')]


def frame(number=1, size=4, dtype=np.uint8, **values):
    """A loaded frame."""
    image = np.zeros((size, size, 3), dtype)
    frame = dict(img=image, img_path=f'{size}.jpg', clip='a', frame_no=number, sample_idx=number)
    return frame | values


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_equal_the_dataset(tiny, workers):
    dataset = AffWild2Dataset(data_root=str(tiny), ann_file=ANN_FILE, pipeline=PIPELINE)
    loader = DataLoader(dataset, batch_size=16, num_workers=workers, collate_fn=collate_frames)
    row = 0
    for batch in loader:
        clips = batch.pop('clips')
        assert all(isinstance(column, torch.Tensor) for column in batch.values())
        assert batch['inputs'].dtype == torch.uint8
        for i, image in enumerate(batch['inputs'].numpy()):
            expected = dataset[row]
            np.testing.assert_array_equal(image, expected['img'])
            assert clips[batch['clip_id'][i]] == expected['clip']
            for name in ('gt_label', 'sample_idx', 'frame_no'):
                assert batch[name][i] == expected[name]
            row += 1
    assert row == len(dataset)


def test_clips_are_listed_once_in_order():
    batch = collate_frames([frame(clip=clip) for clip in ('b\udcff', 'a\nb', 'b\udcff')])
    assert batch['clips'] == ['b\udcff', 'a\nb']  # any name that a file system allows
    assert batch['clip_id'].tolist() == [0, 1, 0]


def test_hidden_labels_are_left_out(tiny):
    dataset = AffWild2Dataset(
        data_root=str(tiny), ann_file='test_set_format.txt', pipeline=PIPELINE
    )
    assert 'gt_label' not in collate_frames([dataset[0], dataset[2]])


@pytest.mark.parametrize(
    'frames, message',
    [
        ([frame(gt_label=2), frame()], 'labels of 1 of 2 frames'),
        ([frame(), frame(), frame(gt_label=2)], 'labels of 1 of 3 frames'),
        ([frame(size=112), frame(size=96)], r'96\.jpg of 96x96 pixels and 112\.jpg of 112x112'),
        ([frame(dtype=np.float32)], 'got float32, expected img as uint8; .*plain.py'),
        (
            [dict(inputs=0, data_samples=0)],
            r"got frames with \['data_samples', 'inputs'\], expected img as uint8; .*plain.py",
        ),
    ],
    ids=['first labelled', 'last labelled', 'two sizes', 'normalised', 'packed'],
)
def test_rejects_frames_that_do_not_fit(frames, message):
    with pytest.raises(ValueError, match=message):
        collate_frames(frames)
