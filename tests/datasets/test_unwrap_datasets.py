"""Tests of finding datasets inside wrappers, and of rejecting frames that two of them share."""

import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmpretrain.datasets import KFoldDataset
from torch.utils.data import Subset

from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.datasets.unwrap_datasets import (
    check_frames_differ,
    find_frame_datasets,
    unwrap_once,
)

EXPR = 'annotations/EXPR_Recognition_Challenge'


def load(root, split='Train_Set', **kwargs):
    return AffWild2Dataset(data_root=str(root), ann_file=f'{EXPR}/{split}', **kwargs)


def test_finds_datasets_inside_wrappers_in_their_order(tiny):
    train, val = load(tiny), load(tiny, 'Validation_Set', lazy_init=True)
    both = ConcatDataset([train, val], lazy_init=True)
    assert unwrap_once(train) == [] == unwrap_once([1, 2])
    assert find_frame_datasets(Subset(both, [0])) == [train, val]
    assert val._fully_initialized
    cfg = dict(type='AffWild2Dataset', data_root=str(tiny), ann_file=f'{EXPR}/Train_Set')
    fold = KFoldDataset(cfg, num_splits=2)
    assert find_frame_datasets(fold) == [fold.dataset]


def test_rejects_frames_that_two_datasets_share(tiny, make_clip):
    make_clip(tiny, 'Other_Set', 'video10_left', [0] * 3, crops='other_crops')
    other = load(tiny, 'Other_Set', data_prefix='other_crops')
    train = load(tiny)
    with pytest.raises(
        ValueError,
        match=("frame 1 of 'video10_left' is in two .*Train_Set and .*Other_Set.*clips="),
    ):
        check_frames_differ(ConcatDataset([load(tiny, 'Validation_Set'), train, other]))
    # clips of the same name without a common frame are accepted
    rows = [i for i in range(len(train)) if train.get_data_info(i)['frame_no'] > 3]
    check_frames_differ(ConcatDataset([train.get_subset(rows), other]))
    check_frames_differ(ConcatDataset([load(tiny, clips=['face clip 3']), other]))
    check_frames_differ(RepeatDataset(train, times=2))
    check_frames_differ([1, 2])
