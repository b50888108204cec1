"""Test the drawing of faces: what is where, readable, and not hidden."""

from itertools import combinations

import cv2
import numpy as np
import pytest
from compose_video import make_pictures

from abaw_mm.video.draw.face_drawer import EMPTY, PAPER, FaceDrawer, strip_stem
from abaw_mm.video.draw.readout import COLOURS
from abaw_mm.video.draw.timeline import Timeline

CLASSES = ['Neutral', 'Anger', 'Disgust', 'Fear', 'Happiness', 'Sadness', 'Surprise', 'Other']
NONE = np.empty((0, 4)), np.empty((0, 8))
SIZES = [(320, 240), (640, 360), (1920, 1080), (480, 854), (160, 120), (63, 47)]
# Machado, Oliveira, Fernandes: "A physiologically-based model for simulation of color vision
# deficiency", 2009; of linear RGB.
VISION = dict(
    normal=np.eye(3),
    protanopia=[
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    deuteranopia=[
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
)


def make_scores(labels, share=0.6):
    """Return scores (N, 8) whose largest is ``share``."""
    scores = np.full((len(labels), 8), (1 - share) / 7)
    scores[np.arange(len(labels)), labels] = share
    return scores


def count(image, colour):
    return int((image == colour).all(2).sum())


@pytest.mark.parametrize('size', SIZES)
def test_frame_is_kept_without_faces(size):
    (width, height), picture = size, make_pictures(1, *size)[0]
    drawer = FaceDrawer(width, height, CLASSES)
    image = drawer.draw(picture, 0.0, [], *NONE)
    assert image.shape == (*drawer.size[::-1], 3) and image.dtype == np.uint8
    assert drawer.size[0] % 2 == drawer.size[1] % 2 == 0
    zoom = max(1, -(-640 // max(size)))
    expected = cv2.resize(picture, (zoom * width, zoom * height))
    np.testing.assert_array_equal(image[: zoom * height, : zoom * width], expected)


@pytest.mark.parametrize('size', SIZES)
def test_bars_show_the_probabilities(size):
    scores = np.array([[0.02, 0.5, 0.08, 0.05, 0.2, 0.03, 0.1, 0.02]])
    drawer = FaceDrawer(*size, CLASSES, ['talk'])
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    image = drawer.draw(picture, 0.0, [0], np.array([[10.0, 10, 30, 40]]), scores)
    beside = image[: drawer._height, drawer._width :]
    counts = np.array([count(beside, colour) for colour in COLOURS], float)
    np.testing.assert_allclose(counts / counts.sum(), scores[0], atol=0.02)


def test_inputs_are_not_changed():
    picture, boxes = make_pictures(1, 320, 240)[0], np.array([[10.0, 10, 90, 90]])
    before = picture.copy(), boxes.copy()
    FaceDrawer(320, 240, CLASSES).draw(picture, 0.0, [0], boxes, make_scores([1]))
    np.testing.assert_array_equal(picture, before[0])
    np.testing.assert_array_equal(boxes, before[1])


@pytest.mark.parametrize('size', [(320, 240), (640, 360), (1920, 1080), (480, 854)])
@pytest.mark.parametrize(
    'boxes',
    [
        [(0.05, 0.2, 0.3, 0.6), (0.35, 0.25, 0.6, 0.65), (0.65, 0.2, 0.9, 0.6)],
        [(0.05, 0.0, 0.3, 0.4), (0.35, 0.0, 0.6, 0.4), (0.7, 0.6, 1.0, 1.0)],  # at the borders
        [(0.1, 0.3, 0.4, 0.7), (0.35, 0.32, 0.65, 0.72), (0.6, 0.3, 0.9, 0.7)],  # overlapping
    ],
)
def test_labels_stay_inside_and_apart(size, boxes, monkeypatch):
    places = []
    drawer = FaceDrawer(*size, CLASSES, ['a_left', 'a_right', 'a_3'])

    def draw_label(*args):
        places.append(draw(*args))
        return places[-1]

    draw = drawer._draw_label
    monkeypatch.setattr(drawer, '_draw_label', draw_label)
    boxes = np.array(boxes) * [*size, *size]
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    drawer.draw(picture, 0.0, range(3), boxes, make_scores([1, 4, 6]))
    for place in places:
        assert place[0] >= 0 and place[1] >= 0
        assert place[2] <= drawer._width and place[3] <= drawer._height
    for a, b in combinations(places, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_timeline_shows_what_was_and_dims_what_comes():
    time = np.arange(0, 20, 0.04)
    label = np.where(time < 5, 4, np.where(time < 10, -1, np.where(time < 15, 1, 6)))[None]
    drawer = FaceDrawer(640, 360, CLASSES, ['talk'], Timeline(time, label))
    strip = drawer.draw(np.zeros((360, 640, 3), np.uint8), 12.5, [], *NONE)[360:]
    row = strip[14]  # in the middle of the bar
    left = 8 + 70  # margin and name, in pixels at this size
    at = {t: tuple(row[left + round(t / 19.96 * (826 - 8 - left))].tolist()) for t in (2, 7, 11)}
    assert at == {2: COLOURS[4], 7: EMPTY, 11: COLOURS[1]}
    later = row[left + round(18 / 19.96 * (826 - 8 - left))]
    np.testing.assert_allclose(later, 0.35 * np.array(COLOURS[6]) + 0.65 * np.array(PAPER), atol=2)


def test_timeline_of_a_long_video_moves_on():
    time = np.arange(0, 600, 0.1)
    timeline = Timeline(time, np.where(time < 300, 4, 1)[None])
    drawer = FaceDrawer(640, 360, CLASSES, ['talk'], timeline)
    windows = [drawer._choose_window(now, timeline) for now in (0.0, 100.0, 599.0)]
    np.testing.assert_allclose(windows, [(0, 60), (55, 115), (539.9, 599.9)])


def test_live_source_shows_the_last_half_minute():
    drawer = FaceDrawer(640, 360, CLASSES)
    picture, box = np.zeros((360, 640, 3), np.uint8), np.array([[10.0, 10, 90, 90]])
    for second in range(200):
        image = drawer.draw(picture, second, [5], box, make_scores([4 if second < 185 else 1]))
    strip = image[360 + 8 : 360 + 20]
    assert 0.85 < count(strip, COLOURS[4]) / count(strip, COLOURS[1]) < 1.2
    assert len(drawer._drawn) <= 62


def test_persons_with_the_most_frames_are_shown():
    label = np.full((5, 100), -1)
    for person, frames in enumerate((10, 90, 50, 0, 70)):
        label[person, :frames] = 0
    drawer = FaceDrawer(640, 480, CLASSES, list('abcde'), Timeline(np.arange(100) / 25, label))
    assert drawer._choose_persons(drawer.timeline) == [1, 2, 4]


def test_names_of_several_persons_leave_out_the_video():
    assert strip_stem(['talk_left', 'talk_right']) == ['left', 'right']
    assert strip_stem(['my_talk']) == ['my_talk'] and strip_stem([]) == []
    assert strip_stem(['anna', 'anton']) == ['anna', 'anton']


@pytest.mark.parametrize('vision', VISION)
def test_colours_of_classes_differ_for_colour_blind_people(vision):
    colours = np.array([*COLOURS, EMPTY]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1)
    seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(np.float32(seen)[None], cv2.COLOR_RGB2Lab)[0]
    distance = [np.linalg.norm(a - b) for a, b in combinations(lab, 2)]
    assert min(distance) > 12  # five times what people notice
