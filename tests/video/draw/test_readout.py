"""Test what is drawn of the predictions of each track."""

import numpy as np
import pytest
from compose_video import make_pictures

from abaw_mm.structures.tasks import ACTION_UNITS, EXPRESSIONS
from abaw_mm.video.draw.face_drawer import EMPTY, FaceDrawer
from abaw_mm.video.draw.readout import AROUSAL, NEGATIVE, POSITIVE, Readout
from abaw_mm.video.draw.timeline import Timeline

BOX = np.array([[60.0, 60, 160, 160]])


def count(image, colour):
    return int((image == colour).all(2).sum())


def draw(task, values, classes=()):
    """Return what is beside a frame with one face."""
    timeline = Timeline(np.zeros(1), np.zeros((1, 1), int))  # of one person
    drawer = FaceDrawer(640, 480, classes, ['talk'], timeline, task)
    image = drawer.draw(make_pictures(1, 640, 480)[0], 0.0, [0], BOX, np.array([values]))
    return image[:480, 640:]


@pytest.mark.parametrize('values', [(0.5, 0.25), (-1.0, 1.0), (-0.25, -0.75)])
def test_bars_of_valence_and_arousal_start_in_the_middle(values):
    beside = draw('va', values)
    empty = count(draw('va', (0.0, 0.0)), EMPTY) / 2  # of one bar, but for the line at 0
    for value, colour in zip(
        values, (POSITIVE if values[0] > 0 else NEGATIVE, AROUSAL), strict=True
    ):
        rows, columns = np.nonzero((beside == colour).all(2))
        area = len(rows) / empty
        assert area == pytest.approx(abs(value) / 2, abs=0.03)
        whole = np.flatnonzero(
            (beside[rows[0]] == EMPTY).all(1) | (beside[rows[0]] == colour).all(1)
        )
        middle = (whole[0] + whole[-1]) / 2
        assert (columns.mean() > middle) == (value > 0)


def test_active_units_are_listed():
    values = np.full(12, 0.49)
    values[[0, 6, 11]] = 0.5, 0.9, 1.0
    readout = Readout('au')
    assert readout.list_units(values) == ['AU1', 'AU12', 'AU26']
    assert readout.write_label(values) == 'AU1 AU12 AU26'
    assert readout.write_label(np.zeros(12)) == 'no unit'
    assert readout.write_label(np.ones(12)) == 'AU1 AU2 AU4 AU6 +8'
    assert readout.find_states(np.stack([values, np.zeros(12), np.ones(12)])).tolist() == [3, 0, 12]
    bright = [int((draw('au', x).max(axis=2) > 200).sum()) for x in (0 * values, values, values**0)]
    assert bright[0] < bright[1] < bright[2]  # more names


def test_multi_task_values_are_split_by_part():
    values = np.zeros(2 + 8 + 12)
    values[:2], values[2 + 4], values[10 + 3] = (0.3, -0.6), 0.8, 0.7
    readout = Readout('mtl', EXPRESSIONS)
    assert readout.write_label(values) == 'Happiness 80 %'
    assert readout.list_units(values) == [ACTION_UNITS[3]]
    assert [values[bar.column] for bar in readout.bars[-2:]] == [0.3, -0.6]
    assert [bar.name for bar in readout.bars] == [*EXPRESSIONS, 'valence', 'arousal']
    assert readout.find_states(values[None]).tolist() == [4]


def test_timeline_shows_the_valence():
    time = np.arange(100) / 25
    valence = np.where(np.arange(100) < 50, -1.0, 1.0)
    readout = Readout('va')
    states = readout.find_states(np.stack([valence, 0 * valence], axis=1))
    assert [readout.colours[i] for i in states[[0, -1]]] == [NEGATIVE, POSITIVE]
    timeline = Timeline(time, states[None])
    drawer = FaceDrawer(640, 480, (), ['talk'], timeline, 'va')
    image = drawer.draw(make_pictures(1, 640, 480)[0], 4.0, [], np.empty((0, 4)), np.empty((0, 2)))
    strip = image[480:]
    assert 0.9 < count(strip, NEGATIVE) / count(strip, POSITIVE) < 1.1
