"""Tests of folds: each clip once, whole videos, even classes."""

import numpy as np
import pytest

from abaw_mm.datasets.annotations import raw_video
from abaw_mm.datasets.folds import find_strata, split_folds
from abaw_mm.errors import InvalidValueError
from abaw_mm.structures import FrameTable


@pytest.fixture
def labels():
    """Return the labels of 30 videos, most of two classes, some with further persons."""
    rng = np.random.default_rng(0)
    out = {}
    for i in range(30):
        for suffix in ('', '_left', '_right')[: rng.integers(1, 4)]:
            out[f'video{i}{suffix}'] = rng.choice([i % 8, (i + 1) % 8, -1], rng.integers(20, 60))
    out['hidden'] = np.full(9, -1)
    return out


def test_each_clip_once_and_videos_whole(labels):
    folds = split_folds(labels, 5)
    clips = [clip for fold in folds for clip in fold]
    assert sorted(clips) == sorted(set(labels) - {'hidden'}) and len(folds) == 5
    fold_of = {}
    for i, fold in enumerate(folds):
        assert fold == sorted(fold)
        for clip in fold:
            assert fold_of.setdefault(raw_video(clip), i) == i
    assert any(clip.endswith('_left') for clip in clips)


def test_classes_are_even(labels):
    """Each fold has about a fifth of each class."""
    counts = np.array(
        [
            np.bincount(np.concatenate([labels[clip] for clip in fold]) + 1, minlength=9)[1:]
            for fold in split_folds(labels, 5)
        ]
    )
    share = counts / counts.sum(axis=0)
    assert counts.min() > 0 and share.max() < 0.45
    by_name = sorted(set(labels) - {'hidden'})  # splitting by name is worse
    worst = max(
        (np.concatenate([labels[c] for c in by_name[i::5]]) == k).sum() / counts.sum(axis=0)[k]
        for i in range(5)
        for k in range(8)
    )
    assert share.max() < worst


def test_folds_depend_on_the_seed_only(labels):
    folds = split_folds(labels, 4, seed=3)
    assert folds == split_folds(dict(reversed(labels.items())), 4, seed=3)
    equal = {f'v{i}': np.arange(8) for i in range(20)}  # ties, which the seed breaks
    assert split_folds(equal, 4, seed=0) != split_folds(equal, 4, seed=1)


@pytest.mark.parametrize('num_folds', [1, 31])
def test_rejects_number_of_folds(labels, num_folds):
    with pytest.raises(ValueError, match=f'--folds: got {num_folds}, expected 2 to 30, the number'):
        split_folds(labels, num_folds)


def test_rejects_seeds_and_folds_that_cannot_be_split(labels):
    with pytest.raises(InvalidValueError, match='--seed: got -1, expected an integer in 0..429496'):
        split_folds(labels, 4, seed=-1)
    few = {f'v{i}': np.array([i]) for i in range(4)}
    with pytest.raises(
        InvalidValueError, match='--folds: got 4, expected at most 1, the frames of'
    ):
        split_folds(few, 4)


def test_strata_of_each_track():
    names, numbers = ['a', 'a', 'a', 'b', 'b'], [1, 2, 3, 1, 2]
    va = np.array([[0.5, 0.5], [-0.5, 0.5], [-5, -5], [-5, -5], [0.5, -0.5]], np.float32)
    au = np.zeros((5, 12), np.int8)
    au[[0, 1, 4], 6] = 1  # in three of four frames
    au[1, 7] = 1  # in one, so it is rarer
    au[2] = -1
    label = np.array([-1, 6, -1, -1, -1], np.int8)
    columns = dict(va=va, au=au, label=label)
    expected = dict(
        label=([-1, 6, -1], [-1, -1]), va=([3, 1, -1], [-1, 2]), au=([6, 7, -1], [12, 6])
    )
    for name, (a, b) in expected.items():
        strata = find_strata(FrameTable.from_rows(names, numbers, **{name: columns[name]}))
        assert (strata['a'].tolist(), strata['b'].tolist()) == (a, b)
    # All targets: the expression, else 8 + quadrant, else 12 + unit.
    strata = find_strata(FrameTable.from_rows(names, numbers, **columns))
    assert (strata['a'].tolist(), strata['b'].tolist()) == ([11, 6, -1], [24, 10])


def test_quadrants_of_valence_and_arousal_are_even_in_folds():
    rng = np.random.default_rng(0)
    names = np.repeat([f'video{i}' for i in range(24)], 40)
    centre = np.repeat(np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])[np.arange(24) % 4], 40, 0)
    va = (0.5 * centre + rng.uniform(-0.3, 0.3, centre.shape)).astype(np.float32)
    table = FrameTable.from_rows(list(names), np.tile(np.arange(1, 41), 24), va=va)
    strata = find_strata(table)
    counts = [
        np.bincount(np.concatenate([strata[clip] for clip in fold]), minlength=4)
        for fold in split_folds(strata, 3)
    ]
    assert np.array(counts).tolist() == [[80] * 4] * 3
