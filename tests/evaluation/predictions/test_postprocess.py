"""Predictions made better, and how much better on clips left out."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.datasets.folds import split_folds
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.postprocess import (
    Postprocess,
    adjust_prior,
    average,
    class_shares,
)
from abaw_mm.evaluation.predictions.search_smoothing import search_smoothing
from abaw_mm.evaluation.predictions.smoothing import (
    hold_labels,
    smooth_scores,
)


def noisy(num_clips=12, frames=60, seed=0, noise=2.0, signal=1.0):
    """Clips whose class changes every 20 frames, and scores that are right a little more often."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 8, (num_clips, frames // 20)).repeat(20, axis=1).ravel()
    logit = rng.normal(0, noise, (len(label), 8))
    logit[np.arange(len(label)), label] += signal
    score = np.exp(logit)
    score = (score / score.sum(1, keepdims=True)).astype(np.float32)
    return Predictions(
        [f'v{i:02d}' for i in range(num_clips)],
        np.repeat(np.arange(num_clips, dtype=np.int32), frames),
        np.tile(np.arange(1, frames + 1, dtype=np.int32), num_clips),
        label.astype(np.int32),
        score.argmax(1).astype(np.int32),
        score,
        EXPRESSIONS,
        'ab',
        'res18',
    )


def test_in_order_along_each_clip():
    p = noisy(2)
    prior = tuple(np.arange(1, 9) / 36)
    out = Postprocess(prior, 0.5, 'box', 3, 4)(p)
    for clip in (0, 1):
        rows = p.clip_id == clip
        score = p.pred_score[rows] / np.sqrt(prior)
        score /= score.sum(1, keepdims=True)
        score = smooth_scores(p.frame_no[rows], score, 'box', 3)
        np.testing.assert_allclose(out.pred_score[rows], score, atol=1e-6)
        np.testing.assert_array_equal(
            out.pred_label[rows], hold_labels(p.frame_no[rows], score.argmax(1), 4)
        )
    assert out.sha256 == 'ab' and out.gt_label is p.gt_label


def test_nothing_asked_nothing_changed():
    p = noisy(2)
    p.pred_label[:] = 3  # a class that was chosen stays
    out = Postprocess()(p)
    assert out.pred_score is p.pred_score and out.pred_label is p.pred_label


def test_prior():
    labels = {'a': np.array([0, 0, 0, 1, -1]), 'b': np.array([-1, 7])}
    assert class_shares(labels, 8) == (0.6, 0.2, 0, 0, 0, 0, 0, 0.2)
    score, prior = np.random.default_rng(0).dirichlet(np.ones(8), 5), np.arange(1, 9) / 36
    with np.errstate(all='raise'):
        logit = np.log(score) - 0.7 * np.log(prior)
    expected = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
    np.testing.assert_allclose(adjust_prior(score, prior, 0.7), expected, atol=1e-6)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(method='mean'), "--method: got 'mean', expected one of box, gaussian, median"),
        (dict(width=-1), '--width -1'),
        (dict(tau=1.0), '--tau: got 1.0 without a prior'),
        (dict(prior=(0.0, 1.0), tau=1.0), '--prior-from: got the shares'),
    ],
)
def test_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Postprocess(**kwargs)


def test_average():
    one, two = noisy(2), noisy(2)
    two.pred_score = two.pred_score[:, ::-1].copy()
    mean = average([one, two], ['1.npz', '2.npz'])
    np.testing.assert_allclose(mean.pred_score, (one.pred_score + two.pred_score) / 2, atol=1e-7)
    assert (mean.pred_label == mean.pred_score.argmax(1)).all()
    assert mean.sha256 == 'ab+ab' and mean.config == 'res18+res18'
    assert average([one], ['1.npz']) is one


def test_average_only_of_the_same():
    one = noisy(2)
    fewer = one.take(np.arange(1, len(one)))
    with pytest.raises(ValueError, match="2.npz: lacks 1 frames .* such as 'v00/1'"):
        average([one, fewer], ['1.npz', '2.npz'])
    with pytest.raises(ValueError, match='1.npz: lacks 1 frames'):
        average([fewer, one], ['1.npz', '2.npz'])
    other = one.take(np.arange(len(one)))
    other.gt_label[3] = (other.gt_label[3] + 1) % 8
    with pytest.raises(ValueError, match="2.npz: got the label . for frame 4 of 'v00'"):
        average([one, other], ['1.npz', '2.npz'])
    other = one.take(np.arange(len(one)))
    other.classes = EXPRESSIONS[::-1]
    with pytest.raises(ValueError, match='2.npz: got 8 classes Other'):
        average([one, other], ['1.npz', '2.npz'])


CANDIDATES = [Postprocess(), *(Postprocess(width=width) for width in (1, 5, 9, 50))]


def test_search_finds_a_gain_that_is_there():
    p = noisy()
    result = search_smoothing(p, CANDIDATES)
    assert result.scores[0] == result.before
    assert result.best in (2, 3) and set(result.chosen) <= {2, 3}
    assert result.held_out > result.before + 20
    label = CANDIDATES[result.best](p).pred_label
    assert result.scores[result.best] == pytest.approx(
        100 * f1_score(p.gt_label, label, average='macro', labels=range(8))
    )


def test_search_does_not_deceive_itself():
    """Where all is chance, the best candidate looks better and the held-out gain does not."""
    best, held_out = [], []
    for seed in range(6):
        p = noisy(10, 40, seed, signal=0.0)
        rng = np.random.default_rng(seed)
        candidates = [Guess(rng.integers(0, 8, len(p))) for _ in range(15)]
        result = search_smoothing(p, candidates)
        best.append(result.scores[result.best] - result.before)
        held_out.append(result.held_out - result.before)
    assert np.mean(best) > np.mean(held_out) + 1 and np.mean(held_out) < 1


class Guess:
    """A candidate whose classes have nothing to do with the frames."""

    def __init__(self, pred_label):
        self.pred_label = pred_label

    def __call__(self, predictions):
        return self


def test_held_out_clips_have_no_say():
    """Each fold's choice is that of a search on the other folds alone."""
    p = noisy(8, signal=0.7)
    result = search_smoothing(p, CANDIDATES, num_folds=4)
    folds = split_folds({c: p.gt_label[p.clip == c] for c in p.clips}, 4)
    for fold, chosen in zip(folds, result.chosen, strict=True):
        rows = np.flatnonzero(~np.isin(p.clip, fold))
        scores = search_smoothing(p.take(rows), CANDIDATES, num_folds=2).scores
        assert int(np.argmax(scores)) == chosen


def test_search_needs_labels_and_clips():
    p = noisy(3)
    with pytest.raises(ValueError, match='--folds: got 5, expected 2 to 3'):
        search_smoothing(p, CANDIDATES)
    p.gt_label[:] = -1
    with pytest.raises(ValueError, match='search on the validation set'):
        search_smoothing(p, CANDIDATES)
