"""Tests of FrameBatch and of the checks for batches as arrays."""

from functools import partial

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from torch.utils.data import DataLoader, default_collate

from abaw_mm.structures import FrameBatch, collate_frames, is_frame_batch, uses_frame_batches


def make_batch(number=3):
    return FrameBatch(metainfo=dict(clips=['a']), frame_no=torch.arange(number))


def test_set_scores_picks_the_most_likely_class():
    batch = make_batch()
    batch.set_scores(torch.eye(4)[[2, 0, 3]])
    assert batch.pred_label.tolist() == [2, 0, 3]
    assert batch.pred_score.shape == (3, 4)


@pytest.mark.parametrize('shape', [(4,), (2, 4), (3, 4, 1)])
def test_rejects_scores_of_another_shape(shape):
    with pytest.raises(ValueError, match=r'expected \(3, C\).*FrameClassifier'):
        make_batch().set_pred_score(torch.zeros(shape))


@pytest.mark.parametrize(
    'loader, expected',
    [
        (DataLoader([0], collate_fn=collate_frames), True),
        (DataLoader([0], collate_fn=partial(collate_frames)), True),  # as mmengine builds it
        (DataLoader([0], collate_fn=default_collate), False),
        (ConfigDict(collate_fn=dict(type='collate_frames')), True),
        (dict(collate_fn=dict(type=collate_frames)), True),
        (dict(collate_fn=collate_frames), True),
        (dict(collate_fn=dict(type='default_collate')), False),
        (dict(collate_fn=None), False),
        (dict(), False),
    ],
)
def test_uses_frame_batches(loader, expected):
    assert uses_frame_batches(loader) is expected


def test_is_frame_batch():
    image = np.zeros((4, 4, 3), np.uint8)
    batch = collate_frames([dict(img=image, clip='a', frame_no=1, sample_idx=0)])
    assert is_frame_batch(batch)
    assert is_frame_batch(dict(clip_id=torch.zeros(3), pred_score=torch.zeros(3, 8)))
    assert not is_frame_batch(dict(clip='a', frame_no=1, pred_score=torch.zeros(8)))
    assert not is_frame_batch(dict(clip=['a', 'b'], seen=torch.zeros(2, 8)))  # windows
