"""Search of postprocessing by cross-validation over clips."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_mm.datasets.folds import split_folds
from abaw_mm.evaluation.postprocessing.ensemble import average, gate
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.postprocessing.search_postprocessing import (
    Candidates,
    Choice,
    list_weights,
    search_postprocessing,
)

SMOOTH = (('box', 3), ('box', 9), ('median', 7))
ALL = Candidates(list_weights(2, 2), (0.6, 0.9), SMOOTH, (-0.5, 0.4))


def apply(choice, parts, second, names=('a', 'b')):
    """Apply a choice as postprocess_predictions.py does."""
    frames = average(parts, names, choice.weights)
    if choice.gate:
        frames = gate(frames, second, choice.gate, 'c')
    method, width = choice.smooth
    return Postprocess(method=method, width=width, bias=choice.bias)(frames)


def search_by_force(parts, second, rows, candidates):
    """Choose step by step with the public functions and scikit-learn, on some rows."""
    target = parts[0]['gt_label'][rows]

    def best(choices):
        scores = [
            f1_score(
                target,
                apply(choice, parts, second)['pred_label'][rows],
                average='macro',
                labels=range(8),
                zero_division=0,
            )
            for choice in choices
        ]
        return choices[int(np.argmax(np.round(scores, 12)))]

    choice = Choice()
    for step in ('weights', 'gate', 'smooth'):
        values = getattr(candidates, step)
        choice = best([choice, *(replace(choice, **{step: value}) for value in values)])
    for cls in [*range(8)] * 2:
        bias = choice.bias or (0.0,) * 8
        tried = [
            (*bias[:cls], b, *bias[cls + 1 :]) for b in sorted((0.0, *candidates.bias), key=abs)
        ]
        choice = best([replace(choice, bias=b) for b in tried])
    return replace(choice, bias=choice.bias if any(choice.bias) else None)


@pytest.fixture
def models(make_noisy):
    """Three models of one set, of which some frames have no label."""
    one = make_noisy(10, 40, signal=0.8)
    hidden = np.random.default_rng(0).random(len(one)) < 0.2
    label = np.where(hidden, -1, one['gt_label']).astype(np.int32)
    parts = []
    for seed in range(3):
        score = np.random.default_rng(seed).dirichlet(np.ones(8), len(one))
        score = (0.5 * score + 0.5 * one['pred_score']).astype(np.float32)
        parts.append(one.with_columns(gt_label=label, pred_score=score, pred_label=score.argmax(1)))
    return parts


def test_search_equals_brute_force(models):
    *parts, second = models
    result = search_postprocessing(parts, 'ab', ALL, second, num_folds=3)
    target = second['gt_label']
    known = target >= 0
    folds = split_folds({c: target[second.clip == c] for c in second.clips}, 3)
    held_out = np.zeros(len(target), int)
    for fold, chosen in zip(folds, result.stages[-1].by_fold, strict=True):
        inside = np.isin(second.clip, fold)
        assert chosen == search_by_force(parts, second, known & ~inside, ALL)
        held_out[inside] = apply(chosen, parts, second)['pred_label'][inside]
    assert result.choice == search_by_force(parts, second, known, ALL)
    for score, label in (
        (result.held_out, held_out),
        (result.claimed, apply(result.choice, parts, second)['pred_label']),
        (result.before, average(parts, 'ab')['pred_label']),
    ):
        expected = f1_score(target[known], label[known], average='macro', labels=range(8))
        assert score == pytest.approx(100 * expected, abs=1e-9)


def test_search_finds_a_real_gain(make_noisy):
    p = make_noisy()
    result = search_postprocessing([p], 'a', Candidates(smooth=SMOOTH, bias=()))
    (stage,) = result.stages
    assert stage.scores[0] == (('box', 0), result.before)
    assert stage.claimed == max(score for _, score in stage.scores)
    assert result.held_out > result.before + 20


def test_a_class_that_is_predicted_too_often_gets_a_negative_bias(make_noisy):
    p = make_noisy(signal=3.0)
    p = Postprocess(bias=(0, 0, 0, 1.0, 0, 0, 0, 0))(p)
    result = search_postprocessing([replace(p, steps=())], 'a', Candidates(smooth=()))
    bias = np.array(result.choice.bias)
    assert bias.argmin() == 3 and bias[3] < -0.4
    assert result.held_out > result.before


def test_random_predictions_show_a_gain_only_on_the_clips_that_chose(make_noisy):
    claimed, held_out = [], []
    for seed in range(8):
        parts = [make_noisy(16, 60, seed, signal=0.0) for seed in (seed, seed + 100, seed + 200)]
        parts = [p.with_columns(gt_label=parts[0]['gt_label']) for p in parts]
        candidates = replace(ALL, bias=Candidates.bias)
        result = search_postprocessing(parts[:2], 'ab', candidates, parts[2])
        claimed.append(result.claimed - result.before)
        held_out.append(result.held_out - result.before)
    assert min(claimed) > 0
    assert np.mean(claimed) > 1
    assert np.mean(held_out) < 0.5


def test_weights_of_three_models():
    weights = list_weights(3)
    assert len(weights) == len(set(weights)) == 15
    np.testing.assert_array_equal(np.sum(weights, axis=1), 1)


@pytest.mark.parametrize(
    ('step', 'candidates'),
    [
        (dict(width=3), Candidates()),
        (dict(bias=(0.1,) * 8), Candidates(smooth=())),
        (dict(width=3), Candidates(gate=(0.9,), smooth=(), bias=())),
    ],
)
def test_files_that_have_been_through_a_step_are_refused(make_noisy, step, candidates):
    p = make_noisy()
    with pytest.raises(ValueError, match='got predictions after'):
        search_postprocessing([Postprocess(**step)(p)], 'a', candidates, p)


def test_missing_labels_and_too_few_clips_are_refused(make_noisy):
    p = make_noisy(3)
    with pytest.raises(ValueError, match='--folds: got 5, expected 2 to 3'):
        search_postprocessing([p], 'a', Candidates())
    p['gt_label'][:] = -1
    with pytest.raises(ValueError, match='search on the validation set'):
        search_postprocessing([p], 'a', Candidates())
