"""Search of a smoothing by cross-validation over clips."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_mm.datasets.folds import split_folds
from abaw_mm.evaluation.predictions.postprocess import Postprocess
from abaw_mm.evaluation.predictions.search_smoothing import search_smoothing

CANDIDATES = [Postprocess(), *(Postprocess(width=width) for width in (1, 5, 9, 50))]


def test_search_finds_a_real_gain(make_noisy):
    p = make_noisy()
    result = search_smoothing(p, CANDIDATES)
    assert result.scores[0] == result.before
    assert result.best in (2, 3) and set(result.chosen) <= {2, 3}
    assert result.held_out > result.before + 20
    label = CANDIDATES[result.best](p)['pred_label']
    assert result.scores[result.best] == pytest.approx(
        100 * f1_score(p['gt_label'], label, average='macro', labels=range(8))
    )


def test_held_out_score_shows_no_gain_of_random_candidates(make_noisy):
    """The best of many random candidates looks better, but its held-out score does not."""
    best, held_out = [], []
    for seed in range(6):
        p = make_noisy(10, 40, seed, signal=0.0)
        rng = np.random.default_rng(seed)
        candidates = [Guess(rng.integers(0, 8, len(p))) for _ in range(15)]
        result = search_smoothing(p, candidates)
        best.append(result.scores[result.best] - result.before)
        held_out.append(result.held_out - result.before)
    assert np.mean(best) > np.mean(held_out) + 1 and np.mean(held_out) < 1


class Guess:
    """Candidate whose classes do not depend on the frames."""

    def __init__(self, label):
        self.label = label

    def __call__(self, predictions):
        score = np.eye(8, dtype=np.float32)[self.label]
        return predictions.with_columns(pred_label=self.label, pred_score=score)


def test_held_out_clips_do_not_influence_the_choice(make_noisy):
    """The choice for a fold equals that of a search on the other folds only."""
    p = make_noisy(8, signal=0.7)
    result = search_smoothing(p, CANDIDATES, num_folds=4)
    folds = split_folds({c: p['gt_label'][p.clip == c] for c in p.clips}, 4)
    for fold, chosen in zip(folds, result.chosen, strict=True):
        rows = np.flatnonzero(~np.isin(p.clip, fold))
        scores = search_smoothing(p.take(rows), CANDIDATES, num_folds=2).scores
        assert int(np.argmax(scores)) == chosen


def test_missing_labels_and_too_few_clips_are_refused(make_noisy):
    p = make_noisy(3)
    with pytest.raises(ValueError, match='--folds: got 5, expected 2 to 3'):
        search_smoothing(p, CANDIDATES)
    p['gt_label'][:] = -1
    with pytest.raises(ValueError, match='search on the validation set'):
        search_smoothing(p, CANDIDATES)
