"""Texts of the report's figures: every name and number in full."""

import re

import numpy as np
import pytest
from PIL import Image

from abaw_mm.visualization.report.figures import (
    TIMELINE_RIGHT,
    WIDTH,
    draw_calibration,
    draw_clip,
    draw_f1,
    draw_face,
    save_confusion,
)
from abaw_mm.visualization.report.tracks.calibration import calibrate


def read_texts(svg):
    return re.findall(r'<text[^>]*>([^<]*)</text>', svg)


@pytest.mark.parametrize('names', [['lr_0.005', 'lr_0.001'], ['_a', 'b.12345'], ['$x$', '1.0001e']])
def test_names_of_runs_are_not_shortened(names):
    f1, intervals = [np.array([12.3456, 50])] * 2, [np.array([[1.0, 20], [40, 60]])] * 2
    texts = read_texts(draw_f1(['class_1.2345', 'b'], f1, intervals, names))
    assert [text for text in texts if text in names] == names
    assert 'class_1.2345' in texts


def test_title_of_a_calibration_is_not_shortened():
    part = calibrate(np.array([0.9, 0.6]), np.array([True, False]))
    texts = read_texts(draw_calibration({'run 0.005': part}, 'label'))
    assert 'run 0.005: expected calibration error 35.00 %' in texts


def test_coordinates_are_rounded():
    svg = draw_f1(['a', 'b'], [np.ones(2)], [np.array([[0.0, 2], [0, 2]])], ['run'])
    tags = ''.join(re.findall(r'<[^>]*>', svg))
    assert re.search(r'\d\.\d\d\b', tags) and not re.search(r'\d\.\d{3}', tags)


@pytest.mark.parametrize('first', [1, 100_001, 12_345_678])
def test_frame_numbers_of_a_timeline_are_whole_and_complete(first):
    numbers = np.arange(first, first + 4)
    label = np.zeros(4, int)
    svg = draw_clip(numbers, label, [label], [np.ones(4)], ['Neutral'], 'label')
    ticks = [
        text for text in read_texts(svg) if text not in ('Neutral', 'confidence', '0', '1', '')
    ]
    if first == 1:
        ticks.insert(0, '1')  # also on the axis of the confidence
    assert ticks and set(ticks) <= {str(number) for number in numbers}


@pytest.mark.parametrize('frames', [3, 700, 701])
def test_picture_of_a_timeline_ends_with_its_axis(frames):
    """The scale of the picture has all its digits: 700 columns multiply what is left out."""
    numbers, label = np.arange(frames), np.zeros(frames, int)
    time, certain = np.arange(frames + 1) / 25, np.ones(frames)
    limits = (0, frames / 25)
    for svg in (
        draw_clip(numbers, label, [label], [certain], ['a'], 'label'),
        draw_face(time[:-1], time[1:], label, certain, ['a'], ['#d64541'], limits, 'label'),
    ):
        columns, scale, left = re.search(
            r'width="(\d+)" .*matrix\((\S+) 0 0 \S+ (\S+) ', svg
        ).groups()
        end = float(left) + int(columns) * float(scale)
        assert end == pytest.approx(72 * (WIDTH - TIMELINE_RIGHT), abs=0.01)


def test_axis_of_a_face_is_in_seconds():
    one = np.ones(2)
    svg = draw_face(
        np.array([0, 6.0]),
        np.array([1, 8.0]),
        np.array([1, 0]),
        one,
        'ab',
        ['#000000'] * 2,
        (0, 10),
        'label',
    )
    assert {'a', 'b', '2 s', '8 s'} <= set(read_texts(svg))


def test_confusion_matrix_as_a_picture(tmp_path):
    save_confusion(np.array([[3, 1], [0, 0]]), ['a', 'b'], tmp_path / 'confusion.png')
    with Image.open(tmp_path / 'confusion.png') as picture:
        pixels = np.asarray(picture.convert('RGB'))
    assert pixels.shape[1] > 1000 and (pixels == 255).any() and (pixels < 128).any()
