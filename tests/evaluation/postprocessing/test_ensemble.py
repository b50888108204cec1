"""Ensembles: weighted mean and confidence gate."""

from dataclasses import replace

import numpy as np
import pytest

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.ensemble import average, gate
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess


def test_average_of_two_models(make_noisy):
    one, two = make_noisy(2), make_noisy(2)
    score = two['pred_score'][:, ::-1].copy()
    two = two.with_columns(pred_score=score, pred_label=score.argmax(1))
    mean = average([one, two], ['1.npz', '2.npz'])
    np.testing.assert_allclose(
        mean['pred_score'], (one['pred_score'] + two['pred_score']) / 2, atol=1e-7
    )
    assert (mean['pred_label'] == mean['pred_score'].argmax(1)).all()
    assert mean.sha256 == 'ab+ab' and mean.config == 'res18+res18'
    assert average([one], ['1.npz']) is one


def test_average_refuses_other_frames_labels_and_classes(make_noisy):
    one = make_noisy(2)
    fewer = one.take(np.arange(1, len(one)))
    with pytest.raises(ValueError, match="2.npz: 1 frames of 1.npz are missing, such as 'v00/1'"):
        average([one, fewer], ['1.npz', '2.npz'])
    with pytest.raises(ValueError, match='1.npz: 1 frames of 2.npz are missing'):
        average([fewer, one], ['1.npz', '2.npz'])
    other = one.take(np.arange(len(one)))
    other['gt_label'][3] = (other['gt_label'][3] + 1) % 8
    with pytest.raises(ValueError, match="2.npz: got the label . for frame 4 of 'v00'"):
        average([one, other], ['1.npz', '2.npz'])
    other = replace(one, classes=EXPRESSIONS[::-1])
    with pytest.raises(ValueError, match='2.npz: got 8 classes Other'):
        average([one, other], ['1.npz', '2.npz'])


def test_weights_of_the_models(make_noisy, tmp_path):
    parts = [
        make_noisy(2, seed=seed).with_columns(gt_label=np.zeros(120, int)) for seed in range(3)
    ]
    mean = average(parts, 'abc', [2, 1, 1])
    expected = np.average([p['pred_score'] for p in parts], axis=0, weights=[0.5, 0.25, 0.25])
    np.testing.assert_allclose(mean['pred_score'], expected, atol=1e-7)
    assert mean.steps == ('mean of 3 weights 0.5 0.25 0.25',)
    mean.write(tmp_path / 'mean.npz')
    assert Predictions.read(tmp_path / 'mean.npz').steps == mean.steps
    only = average(parts, 'abc', [0, 1, 0])
    np.testing.assert_array_equal(only['pred_score'], parts[1]['pred_score'])


@pytest.mark.parametrize('weights', [[1], [0, 0], [1, -1], [np.nan, 1], [1, np.inf]])
def test_invalid_weights_are_refused(make_noisy, weights):
    with pytest.raises(ValueError, match='--weights: got .* for 2 files'):
        average([make_noisy(2)] * 2, 'ab', weights)


def test_gate_trusts_the_second_model_where_it_is_confident(make_noisy):
    one = make_noisy(2)
    two = make_noisy(2, seed=1).with_columns(gt_label=one['gt_label'])
    out = gate(one, two, 0.7, '2.npz')
    for row, source in enumerate(two['pred_score'].max(1) >= 0.7):
        part = two if source else one
        np.testing.assert_array_equal(out['pred_score'][row], part['pred_score'][row])
        assert out['pred_label'][row] == part['pred_label'][row]
    assert out.steps == ('gate 0.7',) and out.sha256 == 'ab+ab'
    assert gate(average([one, two], 'ab'), two, 1, 'b').steps == ('mean of 2', 'gate 1')


def test_gate_refuses_later_steps_and_thresholds_out_of_range(make_noisy):
    p = make_noisy(2)
    smooth = Postprocess(width=3)(p)
    for first, second in ((smooth, p), (p, smooth), (gate(p, p, 0.5, 'b'), p)):
        with pytest.raises(ValueError, match='got predictions after'):
            gate(first, second, 0.5, 'b')
    for threshold in (0, 1.1, np.nan):
        with pytest.raises(ValueError, match='--gate: got .* expected a confidence above 0'):
            gate(p, p, threshold, 'b')
    with pytest.raises(ValueError, match='b: 1 frames of the predictions are missing'):
        gate(p, p.take(np.arange(1, len(p))), 0.5, 'b')
