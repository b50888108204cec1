"""Test the video of drawn faces."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'demo'))
import make_demo_video  # noqa: E402

SCRIPT = '../demo/make_demo_video.py'


def read(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


def test_video_has_its_duration_and_both_faces_move(run_tool, tmp_path):
    status, out, _ = run_tool(SCRIPT, tmp_path / 'new/a.mp4', '--seconds', 2)
    assert (status, out) == (0, f'{tmp_path}/new/a.mp4: 2 s, people: 2\n')
    frames = read(tmp_path / 'new/a.mp4')
    assert len(frames) == 48 and frames[0].shape == (270, 480, 3)
    change = np.abs(np.float32(frames[-1]) - frames[0])
    assert change[:, :240].mean() > 2 and change[:, 240:].mean() > 2


def test_pictures_depend_on_the_seed_alone():
    first, again, other = (
        next(iter(make_demo_video.draw_frames(2, people=2, seed=seed))) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.float32(other) - first).mean() > 20


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['a.mp4', '--seconds', 1], '--seconds: got 1, expected 2 to 600'),
        (['a.mp4', '--seed', -1], '--seed: got -1, expected 0 or more'),
        (['a.avi'], "got 'a.avi', expected a file that ends in .mp4"),
    ],
)
def test_wrong_arguments_are_named(run_tool, flags, message):
    status, _, error = run_tool(SCRIPT, *flags)
    assert status == 2 and message in error
