"""Expected calibration error against a loop over bins."""

import numpy as np
import pytest

from abaw_mm.visualization.report.tracks.calibration import calibrate


@pytest.mark.parametrize('bins', [1, 10, 15])
def test_calibration_equals_a_loop(bins):
    rng = np.random.default_rng(bins)
    confidence = np.append(rng.random(500), [0, 1, 0.5])  # 0.5 is on an edge of 10 bins
    is_correct = rng.random(503) < confidence**2
    result = calibrate(confidence, is_correct, bins)
    error = 0
    for at in range(bins):
        inside = (confidence > at / bins) & (confidence <= (at + 1) / bins)
        if at == 0:
            inside |= confidence == 0
        assert result.count[at] == inside.sum()
        if inside.any():
            error += inside.mean() * abs(is_correct[inside].mean() - confidence[inside].mean())
    assert result.error == pytest.approx(error, abs=1e-12)
    assert result.count.sum() == 503


def test_confident_mistakes_have_a_large_error():
    result = calibrate(np.full(8, 0.9), np.zeros(8, bool))
    assert result.error == pytest.approx(0.9)
    assert np.isnan(result.accuracy[0])
