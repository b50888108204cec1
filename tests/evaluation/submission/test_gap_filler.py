"""Frames without a crop, by each rule, against values worked out by hand."""

import numpy as np
import pytest

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.submission.gap_filler import (
    GapFiller,
    fill_clip,
)


def predictions(frames, classes=EXPRESSIONS):
    """``{clip: {frame: scores}}``; the scores are of the first classes, what is left is Other's."""
    clips = sorted(frames)
    rows = [
        (i, number, scores)
        for i, clip in enumerate(clips)
        for number, scores in sorted(frames[clip].items())
    ]
    score = np.zeros((len(rows), len(classes)), np.float32)
    for row, (_, _, scores) in enumerate(rows):
        score[row, : len(scores)] = scores
        score[row, -1] += 1 - sum(scores)
    return Predictions(
        clips,
        np.array([r[0] for r in rows], np.int32),
        np.array([r[1] for r in rows], np.int32),
        np.full(len(rows), -1, np.int32),
        score.argmax(1).astype(np.int32),
        score,
        classes,
    )


# A gap of frames 3 to 7 of frames 1 to 10: Neutral falls from 1 to 0.2 in steps of 0.8 / 6, Anger
# rises from 0 to 0.8, so that they meet in the middle of the gap, at 5: 0.6 and 0.4; at 6 0.467
# and 0.533.
CLIP = {2: [1.0], 8: [0.2, 0.8]}
WANTED = np.arange(1, 11)


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [
        ('interpolate', [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
        ('nearest', [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
        ('previous', [7, 0, 0, 0, 0, 0, 0, 1, 1, 1]),
        ('Fear', [3, 0, 3, 3, 3, 3, 3, 1, 3, 3]),
    ],
)
def test_rules(rule, expected):
    filler = GapFiller(rule)
    out = filler.fill(predictions({'a': CLIP}), ['a'], np.zeros(10, int), WANTED)
    assert out.label.tolist() == expected
    assert out.filled.tolist() == [n not in CLIP for n in WANTED] and out.empty_clips == []


def test_interpolation_may_pass_a_class_that_neither_end_has():
    """Neutral falls from .5 to .05 and Anger rises; between them Other, .45 throughout, wins."""
    p = predictions({'a': {1: [0.5, 0.05], 5: [0.05, 0.5]}})
    out = GapFiller().fill(p, ['a'], np.zeros(5, int), np.arange(1, 6))
    assert out.label.tolist() == [0, 7, 7, 7, 1]


def test_a_chosen_class_stays():
    """After smoothing of labels the class need not be the likeliest."""
    p = predictions({'a': CLIP})
    p.pred_label[:] = 5
    for rule in ('interpolate', 'nearest', 'previous'):
        out = GapFiller(rule).fill(p, ['a'], np.zeros(2, int), np.array([2, 8]))
        assert out.label.tolist() == [5, 5]


def test_start_class():
    out = GapFiller('previous', start_class='Sadness').fill(
        predictions({'a': CLIP}), ['a'], np.zeros(2, int), np.array([1, 2])
    )
    assert out.label.tolist() == [5, 0]


def test_frames_in_any_order_of_some_clips():
    p = predictions({'a': CLIP, 'b': {5: [0, 0, 1.0]}, 'c': {1: [0, 0, 0, 1.0]}})
    out = GapFiller().fill(p, ['c', 'a'], np.array([1, 0, 1, 0]), np.array([9, 2, 1, 1]))
    assert out.label.tolist() == [1, 3, 0, 3] and out.filled.tolist() == [True, True, True, False]


def test_clips_without_any_crop():
    p = predictions({'a': CLIP})
    asked = (['a', 'none'], np.array([0, 1, 1]), np.array([2, 1, 2]))
    with pytest.raises(ValueError, match="1 of the 2 clips asked for, 'none', .*--empty-clip"):
        GapFiller('previous').fill(p, *asked)
    out = GapFiller(empty_clip='Disgust').fill(p, *asked)
    assert out.label.tolist() == [0, 2, 2] and out.empty_clips == ['none']
    assert out.filled.tolist() == [False, True, True]
    assert GapFiller('Fear').fill(p, *asked).label.tolist() == [0, 3, 3]
    with pytest.raises(ValueError, match="predictions of other clips .'a'. than the 1 asked for"):
        GapFiller('Fear').fill(p, ['z'], np.zeros(1, int), np.ones(1, int))


def test_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="--fill: got 'linear', expected interpolate, previous"):
        GapFiller('linear')
    with pytest.raises(ValueError, match="--start-class: got '7', expected a class: Neutral"):
        GapFiller(start_class='7')
    with pytest.raises(ValueError, match='--empty-clip'):
        GapFiller(empty_clip='neutral')
    with pytest.raises(ValueError, match='expected 8, Neutral'):
        GapFiller().fill(
            predictions({'a': CLIP}, EXPRESSIONS[:7]), ['a'], np.zeros(1, int), np.ones(1, int)
        )


def test_nearest_against_brute_force():
    rng = np.random.default_rng(0)
    known = np.sort(rng.choice(60, 9, replace=False))
    label, score = rng.integers(0, 8, 9), rng.dirichlet(np.ones(8), 9)
    wanted = np.arange(60)
    nearest = abs(wanted[:, None] - known).argmin(1)  # the first of two as near
    np.testing.assert_array_equal(fill_clip(known, label, score, wanted, 'nearest'), label[nearest])
