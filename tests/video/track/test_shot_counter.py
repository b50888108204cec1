"""Test cuts, and what only looks like a cut."""

import numpy as np
import pytest
from compose_video import compose, draw_faces, move, stay

from abaw_mm.video.track.shot_counter import ShotCounter
from abaw_mm.video.video_frame import VideoFrame

SIZE = (320, 180)


def count_shots(images, rate=30.0) -> list[int]:
    counter = ShotCounter()
    return [counter.update(VideoFrame(i, i / rate, image)) for i, image in enumerate(images)]


@pytest.fixture(scope='module')
def shots() -> list[list[np.ndarray]]:
    """Two shots of 20 frames: other walls, other faces, which move."""
    faces = draw_faces(2)
    path = move(20, (100, 90, 120), (220, 90, 120))
    return [compose([faces[i]], [path], SIZE, seed=i + 4).images for i in range(2)]


def test_cuts_start_shots(shots):
    first, second = shots
    assert count_shots([*first, *second, *first]) == [0] * 20 + [1] * 20 + [2] * 20


def test_motion_is_no_cut(shots):
    assert count_shots(shots[0]) == [0] * 20


def test_pan_is_no_cut():
    wide = compose(draw_faces(1), [stay(1, 300, 90, 120)], (1200, 180), seed=3).images[0]
    assert count_shots([wide[:, x : x + 320] for x in range(0, 880, 40)]) == [0] * 22


@pytest.mark.parametrize('gain', [0.3, 0.6, 1.5, 2.0])
def test_change_of_light_is_no_cut(shots, gain):
    brighter = [np.clip(image * gain, 0, 255).astype(np.uint8) for image in shots[0]]
    assert count_shots([*shots[0][:10], *brighter[10:]]) == [0] * 20


def test_white_flash_returns_to_the_shot(shots):
    images = [*shots[0][:5], np.full_like(shots[0][0], 255), *shots[0][5:]]
    numbers = count_shots(images)
    assert numbers[:5] == [0] * 5 and numbers[6:] == [0] * 15


def test_return_after_a_long_time_is_a_new_shot(shots):
    numbers = count_shots([*shots[0], *shots[1], *shots[0]])
    assert numbers[0] == 0 and numbers[-1] not in numbers[:-20]


def test_real_cut(real_frames):
    numbers = count_shots(real_frames('face_noface.mov', range(60, 90)))
    assert len(set(numbers[:12])) == 1 and len(set(numbers[13:])) == 1
    assert numbers[11] != numbers[13]  # between them one frame is black


@pytest.mark.slow
@pytest.mark.parametrize('video', ['WolfgangLanger_Pexels.mp4', 'single_face.mp4', 'no_face.mp4'])
def test_real_video_without_cut(real_frames, video):
    assert set(count_shots(real_frames(video, range(472)))) == {0}
