import sys
from types import SimpleNamespace

import numpy as np
import pytest

from abaw_mm.audio import Sound
from abaw_mm.audio.egemaps import Egemaps
from abaw_mm.errors import MissingPackageError


def test_pitch_of_a_tone_is_found():
    pytest.importorskip('opensmile')
    time = np.arange(16000) / 16000
    harmonics = sum(np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 10))
    extract = Egemaps()
    features, times = extract(Sound((harmonics / 10).astype(np.float32), 2.0))
    assert features.shape == (len(times), 25) and features.dtype == np.float32
    assert 2.0 < times[0] < 2.05 and 2.9 < times[-1] < 3.0
    names = extract._smile.feature_names
    pitch = features[20:-20, names.index('F0semitoneFrom27.5Hz_sma3nz')]
    np.testing.assert_allclose(np.median(pitch), 12 * np.log2(200 / 27.5), atol=0.2)


class Smile:
    """Takes the place of opensmile's class: the mean of each 10 ms, as a table."""

    feature_names = ('mean', 'count')

    def __init__(self, feature_set, feature_level):
        assert (feature_set, feature_level) == ('set', 'level')

    def process_signal(self, samples, rate):
        parts = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        table = np.stack([parts.mean(1), np.full(len(parts), rate)], 1)
        start = 0.01 * np.arange(len(parts))
        levels = dict(start=start, end=start + 0.02)
        index = SimpleNamespace(
            get_level_values=lambda name: SimpleNamespace(
                total_seconds=lambda: SimpleNamespace(to_numpy=lambda: levels[name])
            )
        )
        return SimpleNamespace(index=index, to_numpy=lambda dtype: table.astype(dtype))


def test_rows_have_the_time_of_their_window(monkeypatch):
    fake = SimpleNamespace(
        Smile=Smile,
        FeatureSet=SimpleNamespace(eGeMAPSv02='set'),
        FeatureLevel=SimpleNamespace(LowLevelDescriptors='level'),
        __version__='0',
    )
    monkeypatch.setitem(sys.modules, 'opensmile', fake)
    samples = np.arange(8000, dtype=np.float32)
    features, times = Egemaps()(Sound(samples, 1.0))
    np.testing.assert_allclose(features[:, 0], samples.reshape(-1, 160).mean(1))
    np.testing.assert_allclose(times, 1.01 + 0.01 * np.arange(50))


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'opensmile', None)
    with pytest.raises(MissingPackageError, match='pip install opensmile .its licence'):
        Egemaps()
