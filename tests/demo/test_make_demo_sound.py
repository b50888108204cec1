"""Test the faces with sound: what differs within each pair of classes, and what does not."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'demo'))
import make_demo_sound as demo  # noqa: E402
from abaw_mm.structures.tasks import EXPRESSIONS  # noqa: E402

SCRIPT = '../demo/make_demo_sound.py'


@pytest.fixture(scope='module')
def segments():
    """Smile, mouth, loudest frequency in Hz and loudness of each class, over 40 clips."""
    found = {name: [] for name in [*demo.SOUND_PAIR, *demo.MOTION_PAIR, *demo.MOUTH]}
    for seed in range(40):
        clip = demo.simulate_clip(240, np.random.default_rng(seed))
        for name, rows in found.items():
            at = np.flatnonzero(clip.label == EXPRESSIONS.index(name))
            per_frame = demo.SAMPLES // demo.RATE
            sound = clip.sound[at[0] * per_frame : (at[-1] + 1) * per_frame]
            spectrum = np.abs(np.fft.rfft(sound))
            pitch = np.argmax(spectrum) * demo.SAMPLES / len(sound)
            rows.append((clip.smile[at], clip.mouth[at], pitch, sound.std()))
    return found


def test_sound_pair_differs_by_pitch_only(segments):
    low, high = (segments[name] for name in demo.SOUND_PAIR)
    assert max(row[2] for row in low) < 420 < 980 < min(row[2] for row in high)
    for rows in (low, high):
        assert all((row[0] == 1).all() for row in rows)
        mouth = np.concatenate([row[1] for row in rows])
        assert abs(mouth.mean() - 0.5) < 0.01 and mouth.std() < 0.04
        assert 0.19 < np.mean([row[3] for row in rows]) < 0.23


def test_motion_pair_differs_by_order_only(segments):
    slow, fast = (segments[name] for name in demo.MOTION_PAIR)
    change = [np.mean([np.abs(np.diff(row[1])).mean() for row in rows]) for rows in (slow, fast)]
    assert change[1] > 2 * change[0]
    pooled = [np.sort(np.concatenate([row[1] for row in rows])) for rows in (slow, fast)]
    share = np.linspace(0.05, 0.95, 19)
    quantiles = [np.quantile(values, share) for values in pooled]
    np.testing.assert_allclose(*quantiles, atol=0.1)
    for rows in (slow, fast):
        assert not any(row[0].any() for row in rows)
        assert 0.018 < np.mean([row[3] for row in rows]) < 0.022


def test_still_classes_show_either_end_of_the_motion(segments):
    for name, mouth in demo.MOUTH.items():
        for smile, shown, _, loudness in segments[name]:
            assert not smile.any() and 0.015 < loudness < 0.025
            assert abs(shown.mean() - mouth) < 0.03 and shown.std() < 0.06
    moving = np.concatenate([row[1] for name in demo.MOTION_PAIR for row in segments[name]])
    assert np.quantile(moving, 0.1) < 0.1 and np.quantile(moving, 0.9) > 0.9


def test_video_has_pictures_and_sound_of_its_clip(run_tool, tmp_path):
    root = tmp_path / 'data/new'
    flags = '--train-clips 1 --val-clips 1 --test-clips 1 --frames 80 --size 32'.split()
    status, out, _ = run_tool(SCRIPT, root, *flags)
    assert (status, out) == (0, f'{root}: 3 clips of 80 frames with sound\n')
    with av.open(str(root / 'videos/video1.mp4')) as container:
        assert sum(1 for _ in container.decode(video=0)) == 80
        container.seek(0)
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(len(sound) - 80 / demo.RATE * demo.SAMPLES) < 3000 and sound.std() > 0.1
    lines = (root / demo.ANNOTATIONS / 'Train_Set/video1.txt').read_text().splitlines()
    assert len(lines) == 81 == len((root / 'test_set_format.txt').read_text().splitlines())
    assert len(list((root / 'cropped_aligned/video3').iterdir())) == 80
    status, _, error = run_tool(SCRIPT, root, *flags)
    assert status == 1 and 'exists, expected a new folder' in error
    assert run_tool(SCRIPT, tmp_path / 'x', '--size', 33)[0] == 2
