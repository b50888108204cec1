"""Frames without a prediction, by each rule, against values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.submission.gap_filler import (
    RULES,
    GapFiller,
    fill_clip,
    find_empty_clips,
)
from abaw_mm.structures import FrameTable


def make_predictions(frames, classes=EXPRESSIONS):
    """Make predictions from ``{clip: {frame: scores of the first classes}}``.

    The last class gets the rest of the probability.
    """
    table = FrameTable.from_clips({clip: sorted(frames[clip]) for clip in sorted(frames)})
    score = np.zeros((len(table), len(classes)), np.float32)
    for row, (clip, number) in enumerate(zip(table.clip, table.frame_no, strict=True)):
        scores = frames[clip][number]
        score[row, : len(scores)] = scores
        score[row, -1] += 1 - sum(scores)
    columns = dict(
        gt_label=np.full(len(table), -1, np.int32),
        pred_label=score.argmax(1).astype(np.int32),
        pred_score=score,
    )
    return Predictions(table.clips, table.clip_id, table.frame_no, columns, classes)


def fill(filler, predictions, **wanted):
    """Fill wanted frames, ``clip=[numbers]``."""
    return filler.fill(predictions, FrameTable.from_clips(wanted))


# Frames 3 to 7 are a gap. Neutral falls from 1 to 0.2 in steps of 0.8 / 6, Anger rises from 0 to
# 0.8. They are 0.6 and 0.4 at frame 5, 0.467 and 0.533 at frame 6.
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
    out = fill(GapFiller(rule), make_predictions({'a': CLIP}), a=WANTED)
    assert out['label'].tolist() == expected and out['label'].dtype == np.int32
    assert out['is_filled'].tolist() == [n not in CLIP for n in WANTED]


def test_interpolation_may_choose_a_class_of_neither_end():
    """Neutral falls from .5 to .05 and Anger rises; between them Other, .45 throughout, wins."""
    predictions = make_predictions({'a': {1: [0.5, 0.05], 5: [0.05, 0.5]}})
    assert fill(GapFiller(), predictions, a=range(1, 6))['label'].tolist() == [0, 7, 7, 7, 1]


@pytest.mark.parametrize('rule', ['interpolate', 'nearest', 'previous', 'Fear'])
def test_predicted_frames_keep_their_class(rule):
    """After postprocessing, the predicted class need not be the most likely one."""
    predictions = make_predictions({'a': CLIP})
    predictions['pred_label'][:] = 5
    assert fill(GapFiller(rule), predictions, a=[2, 8])['label'].tolist() == [5, 5]


def test_start_class_precedes_the_first_prediction():
    filler = GapFiller('previous', start_class='Sadness')
    assert fill(filler, make_predictions({'a': CLIP}), a=[1, 2])['label'].tolist() == [5, 0]


def test_frames_in_any_order_of_some_clips():
    predictions = make_predictions({'a': CLIP, 'b': {5: [0, 0, 1.0]}, 'c': {1: [0, 0, 0, 1.0]}})
    wanted = FrameTable(['c', 'a'], np.array([1, 0, 1, 0]), np.array([9, 2, 1, 1]))
    out = GapFiller().fill(predictions, wanted)
    assert out['label'].tolist() == [1, 3, 0, 3]
    assert out['is_filled'].tolist() == [True, True, True, False]


def test_clips_without_predictions_need_a_class():
    predictions, wanted = make_predictions({'a': CLIP}), dict(a=[2], none=[1, 2])
    with pytest.raises(ValueError, match="1 of the 2 wanted clips, 'none', .*--empty-clip"):
        fill(GapFiller('previous'), predictions, **wanted)
    out = fill(GapFiller(empty_clip='Disgust'), predictions, **wanted)
    assert out['label'].tolist() == [0, 2, 2]
    assert out['is_filled'].tolist() == [False, True, True]
    assert fill(GapFiller('Fear'), predictions, **wanted)['label'].tolist() == [0, 3, 3]
    assert find_empty_clips(predictions, list(wanted)) == ['none']
    with pytest.raises(ValueError, match="predictions of other clips .'a'. than the 1 wanted"):
        fill(GapFiller('Fear'), predictions, z=[1])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(rule='linear'), "--fill: got 'linear', expected interpolate, previous"),
        (dict(start_class='7'), "--start-class: got '7', expected a class: Neutral"),
        (dict(empty_clip='neutral'), "--empty-clip: got 'neutral'"),
    ],
)
def test_unknown_rules_and_classes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GapFiller(**options)


def test_predictions_of_other_classes_are_refused():
    with pytest.raises(ValueError, match='expected 8, Neutral'):
        fill(GapFiller(), make_predictions({'a': CLIP}, EXPRESSIONS[:7]), a=[1])


def test_nearest_equals_brute_force():
    rng = np.random.default_rng(0)
    known = np.sort(rng.choice(60, 9, replace=False))
    label, score = rng.integers(0, 8, 9), rng.dirichlet(np.ones(8), 9)
    wanted = np.arange(60)
    nearest = abs(wanted[:, None] - known).argmin(1)  # the earlier frame on a tie
    np.testing.assert_array_equal(fill_clip(known, label, score, wanted, 'nearest'), label[nearest])


def run_lengths(label):
    """Return the lengths of the runs of equal classes."""
    ends = np.flatnonzero(np.append(np.diff(label) != 0, True))
    return np.diff(ends, prepend=-1)


def test_filling_keeps_the_minimum_duration():
    """Interpolation would give the class of neither end to frames 4 and 5, see above."""
    scores = {n: [0.6, 0.0] for n in (1, 2)} | {3: [0.5, 0.05], 7: [0.05, 0.5]}
    predictions = make_predictions({'a': scores | {n: [0.0, 0.6] for n in (8, 9, 10)}})
    raw = fill(GapFiller(), predictions, a=range(1, 11))['label'].tolist()
    assert raw == [0, 0, 0, 7, 7, 7, 1, 1, 1, 1]
    held = Postprocess(hold=4)(predictions)
    assert held['pred_label'].tolist() == [1] * 7  # the run of three is too short
    held = Postprocess(hold=3)(predictions)
    assert fill(GapFiller(), held, a=range(1, 11))['label'].tolist() == raw
    three = replace(predictions, steps=('hold 4',))
    three['pred_label'][:] = [0, 0, 0, 1, 1, 1, 1]
    assert fill(GapFiller(), three, a=range(1, 11))['label'].tolist() == [0] * 6 + [1] * 4


@pytest.mark.parametrize('rule', [*RULES, 'Neutral'])
@pytest.mark.parametrize('seed', range(10))
def test_no_run_of_a_held_submission_is_too_short(rule, seed):
    rng = np.random.default_rng(seed)
    known = np.sort(rng.choice(np.arange(1, 121), 90, replace=False))
    mean = np.eye(8)[rng.integers(0, 8, 12)].repeat(10, axis=0)[known - 1]
    scores = 0.3 * mean + 0.7 * rng.dirichlet(np.ones(8), 90)
    predictions = make_predictions({'a': dict(zip(known.tolist(), scores[:, :7], strict=True))})
    held = Postprocess(hold=6)(predictions)
    out = fill(GapFiller(rule), held, a=rng.permutation(np.arange(1, 121)))
    label = out['label'][np.argsort(out.frame_no)]
    assert run_lengths(label).min() >= 6
    before = fill(GapFiller(rule), predictions, a=np.arange(1, 121))['label']
    assert run_lengths(before).min() == 1
    if rule in ('interpolate', 'nearest'):
        assert (label[known - 1] == held['pred_label']).mean() > 0.95
