import numpy as np
import pytest
from compose_sound import make_burst, write_sound_video

from abaw_mm.audio import has_sound, read_sound
from abaw_mm.video.decode import VideoReader

TIMES = [0.0, 0.04, 0.08]


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, (2, 20000)).astype(np.float32)


def test_samples_at_16_khz_are_unchanged(tmp_path, noise):
    sound = read_sound(write_sound_video(tmp_path / 'a.mkv', noise[0], times=TIMES))
    assert sound.start == 0 and sound.samples.dtype == np.float32
    np.testing.assert_array_equal(sound.samples, noise[0])


def test_channels_are_averaged(tmp_path, noise):
    sound = read_sound(write_sound_video(tmp_path / 'a.mkv', noise, times=TIMES))
    np.testing.assert_allclose(sound.samples, noise.mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ('suffix', 'codec', 'rate'),
    [
        ('mp4', 'aac', 44100),
        ('mkv', 'libopus', 48000),
        ('ts', 'mp2', 48000),
        ('mov', 'pcm_s16le', 8000),
    ],
)
def test_sound_of_any_codec_keeps_its_time(tmp_path, suffix, codec, rate):
    burst = make_burst(3, 1.25, rate)
    path = write_sound_video(tmp_path / f'a.{suffix}', burst, rate, codec, TIMES)
    sound = read_sound(path)
    first = next(VideoReader(path).read_times())  # MPEG-TS shifts both streams
    loud = np.flatnonzero(np.abs(sound.samples) > 0.1) / 16000 + sound.start - first
    assert loud[0] == pytest.approx(1.25, abs=2e-3) and loud[-1] == pytest.approx(1.35, abs=2e-3)
    assert np.abs(sound.samples).max() == pytest.approx(0.5, rel=0.1)


def test_sound_that_starts_late_has_its_start(tmp_path, noise):
    sound = read_sound(write_sound_video(tmp_path / 'a.mkv', noise[0], times=TIMES, start=0.7))
    assert sound.start == pytest.approx(0.7)
    np.testing.assert_array_equal(sound.samples, noise[0])


def test_gap_in_time_stamps_is_silence(tmp_path, noise):
    path = write_sound_video(tmp_path / 'a.mkv', noise[0], times=TIMES, gap=(8000, 2.0))
    sound = read_sound(path)
    assert len(sound.samples) == pytest.approx(20000 + 32000, abs=32)
    np.testing.assert_array_equal(sound.samples[:8000], noise[0, :8000])
    assert np.all(sound.samples[8100:39900] == 0)
    loud = np.abs(sound.samples[39900:])
    assert np.flatnonzero(loud > 0.01)[0] == pytest.approx(100, abs=20)


def test_video_without_sound_is_recognised(tmp_path):
    silent = write_sound_video(tmp_path / 'silent.mkv', None, times=TIMES)
    assert not has_sound(silent)
    assert has_sound(write_sound_video(tmp_path / 'a.mkv', np.zeros(999, np.float32), times=TIMES))
    with pytest.raises(ValueError, match='got no sound that can be decoded'):
        read_sound(silent)
    (tmp_path / 'b.mkv').write_text('no video')
    with pytest.raises(ValueError, match='b.mkv: got a damaged or wrong file'):
        has_sound(tmp_path / 'b.mkv')
    with pytest.raises(FileNotFoundError, match='gone.mkv: no such file'):
        has_sound(tmp_path / 'gone.mkv')
