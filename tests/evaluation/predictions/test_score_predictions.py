"""Scores with a crop and of all labelled frames, against MacroF1 and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import MacroF1, Predictions
from abaw_mm.evaluation.predictions.score_predictions import score_predictions
from abaw_mm.evaluation.submission.gap_filler import GapFiller


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    labels = {clip: rng.integers(-1, 8, frames) for clip, frames in (('b', 40), ('a', 25))}
    return {**labels, 'unlabelled': np.full(5, -1)}


@pytest.fixture
def predictions(labels):
    """Predictions of labelled frames except every fifth, which has no crop."""
    rng = np.random.default_rng(1)
    rows = [
        (i, n, labels[clip][n - 1])
        for i, clip in enumerate('ab')
        for n in range(1, len(labels[clip]) + 1)
        if labels[clip][n - 1] >= 0 and n % 5
    ]
    clip_id, frame_no, gt_label = np.array(rows, np.int32).T
    score = rng.dirichlet(np.ones(8), len(rows)).astype(np.float32)
    columns = dict(gt_label=gt_label, pred_label=score.argmax(1).astype(np.int32), pred_score=score)
    return Predictions(['a', 'b'], clip_id, frame_no, columns)


def test_score_with_crop_equals_macro_f1(predictions, labels):
    metric = MacroF1().compute_metrics(predictions)
    metric |= {f'support_{name}': count for name, count in metric.pop('support').items()}
    assert score_predictions(predictions).with_crop == metric
    scores = score_predictions(predictions, labels)
    assert scores.with_crop == metric and score_predictions(predictions).all_labelled is None


def test_score_of_all_labelled_frames_equals_filling_by_hand(predictions, labels):
    pred, target = [], []
    for i, clip in enumerate('ab'):
        rows = np.flatnonzero(predictions.clip_id == i)
        for n in np.flatnonzero(labels[clip] >= 0) + 1:
            before = rows[predictions.frame_no[rows] <= n]
            pred.append(predictions['pred_label'][before[-1]] if len(before) else 5)
            target.append(labels[clip][n - 1])
    scores = score_predictions(predictions, labels, GapFiller('previous', 'Sadness'))
    f1 = f1_score(target, pred, labels=range(8), average='macro', zero_division=0)
    assert scores.all_labelled['macro_f1'] == pytest.approx(100 * f1)
    assert scores.all_labelled['accuracy'] == pytest.approx(100 * accuracy_score(target, pred))
    assert sum(scores.all_labelled[f'support_{name}'] for name in EXPRESSIONS) == len(target)
    assert scores.num_filled == len(target) - len(predictions) > 0


def test_labels_in_predictions_are_optional(predictions, labels):
    hidden = predictions.take(np.arange(len(predictions)))
    hidden['gt_label'][:] = -1
    assert score_predictions(hidden, labels) == score_predictions(predictions, labels)
    with pytest.raises(ValueError, match='give the folder of annotations with --ann-file'):
        score_predictions(hidden)


def test_annotations_of_another_set_are_refused(predictions, labels):
    with pytest.raises(ValueError, match=r'got the label .* for frame \d+ of .*--start-index'):
        score_predictions(predictions, labels, start_index=0)
    with pytest.raises(ValueError, match="1 of the 3 wanted clips, 'c'"):
        score_predictions(predictions, {**labels, 'c': np.zeros(3, int)})
    out = score_predictions(
        predictions, {**labels, 'c': np.zeros(3, int)}, GapFiller(empty_clip='Neutral')
    )
    assert out.empty_clips == ['c']
    with pytest.raises(ValueError, match='other clips'):
        score_predictions(predictions, {'c': np.zeros(3, int)})
    with pytest.raises(ValueError, match='1 clips without any label'):
        score_predictions(predictions, {'unlabelled': labels['unlabelled']})


def test_absent_class_counts_zero_or_is_skipped(predictions, labels):
    few = {clip: np.where(label == 7, -1, label) for clip, label in labels.items()}
    predictions['gt_label'][:] = -1
    zero, skip = (score_predictions(predictions, few, absent=a).with_crop for a in ('zero', 'skip'))
    assert zero['macro_f1'] * 8 == pytest.approx(skip['macro_f1'] * 7)
