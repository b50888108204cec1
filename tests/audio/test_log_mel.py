import numpy as np
import pytest
from scipy.signal import get_window

from abaw_mm.audio import Sound, log_mel
from abaw_mm.audio.log_mel import LogMel


def compute_with_numpy(samples):
    """Windows by slicing, NumPy's FFT, SciPy's Hann window, bands by interpolation."""
    rows = 1 + (len(samples) - 400) // 160
    windows = np.stack([samples[160 * i : 160 * i + 400] for i in range(rows)]).astype(float)
    power = np.abs(np.fft.rfft(windows * get_window('hann', 400))) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82) / 2595) - 1)
    bins = np.fft.rfftfreq(400, 1 / 16000)
    bands = [np.interp(bins, edges[i : i + 3], [0, 1, 0], 0, 0) for i in range(80)]
    return np.log(power @ np.array(bands).T + 1e-6)


@pytest.mark.parametrize('chunk', [log_mel.CHUNK, 7])
@pytest.mark.parametrize('count', [400, 1039, 16077])
def test_energies_equal_those_of_numpy(monkeypatch, count, chunk):
    monkeypatch.setattr(log_mel, 'CHUNK', chunk)
    samples = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    features, times = LogMel()(Sound(samples, 0.25))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, compute_with_numpy(samples), atol=1e-4)
    np.testing.assert_allclose(times, 0.25 + 0.0125 + 0.01 * np.arange(len(features)))


def test_tone_is_loudest_in_the_band_of_its_frequency():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    features, _ = LogMel()(Sound(tone, 0))
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82) / 2595) - 1)[1:-1]
    assert abs(centres[features.mean(0).argmax()] - 1000) < 40


def test_short_sound_has_one_row():
    features, times = LogMel()(Sound(np.zeros(10, np.float32), 0))
    assert features.shape == (1, 80) and times.shape == (1,)
    np.testing.assert_allclose(features, np.log(1e-6), rtol=1e-6)
