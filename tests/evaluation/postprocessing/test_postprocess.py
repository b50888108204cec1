"""Postprocessing of predictions, and ensembles."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from abaw_mm.evaluation.postprocessing.ensemble import average
from abaw_mm.evaluation.postprocessing.postprocess import (
    Postprocess,
    adjust_prior,
    class_shares,
)
from abaw_mm.evaluation.postprocessing.seconds import Seconds
from abaw_mm.evaluation.postprocessing.smoothing import hold_labels, smooth_scores
from abaw_mm.evaluation.predictions.class_balance import ClassBalance


def test_steps_are_applied_in_order_to_each_clip(make_noisy):
    p = make_noisy(2)
    prior = tuple(np.arange(1, 9) / 36)
    out = Postprocess(prior, 0.5, 'box', 3, 4)(p)
    for clip in (0, 1):
        rows = p.clip_id == clip
        score = p['pred_score'][rows] / np.sqrt(prior)
        score /= score.sum(1, keepdims=True)
        score = smooth_scores(p.frame_no[rows], score, 'box', 3)
        np.testing.assert_allclose(out['pred_score'][rows], score, atol=1e-6)
        np.testing.assert_array_equal(
            out['pred_label'][rows], hold_labels(p.frame_no[rows], score.argmax(1), 4)
        )
    assert out.sha256 == 'ab' and out['gt_label'] is p['gt_label']


def test_a_width_in_seconds_uses_the_times_of_each_clip(make_noisy):
    p = make_noisy(2)
    p = p.with_columns(time=np.random.default_rng(0).random((2, 60)).cumsum(axis=1).ravel() / 25)
    out = Postprocess(method='median', width=Seconds(0.4))(p)
    for clip in (0, 1):
        rows = p.clip_id == clip
        score = smooth_scores(p['time'][rows], p['pred_score'][rows], 'median', 0.4)
        np.testing.assert_array_equal(out['pred_score'][rows], score)
    assert out.steps == ('smooth median 0.4s',) and out['time'] is p['time']


def test_a_width_in_seconds_needs_times(make_noisy):
    with pytest.raises(ValueError, match='--width 1s: got predictions without time stamps'):
        Postprocess(width=Seconds(1))(make_noisy(1))


def test_defaults_change_nothing(make_noisy):
    p = make_noisy(2)
    p = replace(p, steps=('hold 5',))
    p['pred_label'][:] = 3  # not the most likely class
    out = Postprocess()(p)
    assert out['pred_score'] is p['pred_score'] and out['pred_label'] is p['pred_label']


def test_prior_correction_equals_logit_adjustment():
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
        (dict(width=-1), 'got --width -1'),
        (dict(width=Seconds(-1)), 'got --width -1s'),
        (dict(tau=1.0), '--tau: got 1.0 without a prior'),
        (dict(prior=(0.0, 1.0), tau=1.0), '--prior-from: got the class shares'),
        (dict(bias=(np.nan, 0.0)), '--bias: got .nan, 0.0., expected numbers in -20..20'),
    ],
)
def test_invalid_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Postprocess(**kwargs)


def test_bias_is_added_to_the_logarithms_after_the_smoothing(make_noisy):
    p, bias = make_noisy(2), np.linspace(-1, 1, 8)
    smooth = Postprocess(width=3)(p)
    out = Postprocess(width=3, bias=tuple(bias))(p)
    expected = softmax(np.log(smooth['pred_score']) + bias, axis=1)
    np.testing.assert_allclose(out['pred_score'], expected, atol=1e-6)
    np.testing.assert_array_equal(out['pred_label'], expected.argmax(1))
    assert out.steps[1].startswith('bias -1 -0.714286 ')
    with pytest.raises(ValueError, match='--bias: got 2 values for 8 classes'):
        Postprocess(bias=(0.0, 1.0))(p)
    with pytest.raises(ValueError, match="bias 1 .*: got predictions after 'bias -1"):
        Postprocess(bias=(1.0,) * 8)(out)


def test_steps_are_recorded_in_order(make_noisy):
    one = make_noisy(2)
    mean = average([one, make_noisy(2)], ['1.npz', '2.npz'])
    out = Postprocess(tuple(np.arange(1, 9) / 36), 0.5, 'median', 3, 4)(mean)
    assert out.steps == ('mean of 2', 'tau 0.5', 'smooth median 3', 'hold 4')
    assert Postprocess(hold=4)(Postprocess(width=3)(one)).steps == ('smooth box 3', 'hold 4')
    assert one.steps == ()


@pytest.mark.parametrize('step', [dict(width=5), dict(tau=1.0, prior=(0.125,) * 8)])
def test_a_step_is_refused_after_itself_or_a_later_one(make_noisy, step):
    smooth = Postprocess(width=3)(make_noisy(2))
    with pytest.raises(ValueError, match="after 'smooth box 3', expected none"):
        Postprocess(**step)(smooth)
    with pytest.raises(ValueError, match="mean with 1.npz: got predictions after 'smooth box 3'"):
        average([smooth, smooth], ['1.npz', '2.npz'])


@pytest.mark.parametrize('balance', [ClassBalance(), ClassBalance(0.5), None])
def test_prior_is_the_one_that_training_saw(make_noisy, logged_warnings, balance):
    """Square roots, rounded up: 0.5 / 0.4 gives 2 draws per frame, 0.5 / 0.033 gives 4."""
    prior = np.array([0.4, 0.4, *[0.2 / 6] * 6])
    drawn = prior * ([2, 2, 4, 4, 4, 4, 4, 4] if balance == ClassBalance(0.5) else 1)
    before = replace(make_noisy(2), balance=balance)
    after = Postprocess(tuple(prior), 1.0)(before)
    odds = after['pred_score'] / before['pred_score'] * drawn
    np.testing.assert_allclose(odds / odds[:, :1], 1, rtol=1e-4)
    unknown = [line for line in logged_warnings if 'do not say whether the training' in line]
    assert len(unknown) == (balance is None)
