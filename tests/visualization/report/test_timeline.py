"""Timelines show every frame, also of long clips."""

import numpy as np
import pytest

from abaw_mm.visualization.report.timeline import (
    BACKGROUND,
    RIGHT,
    TRUTH,
    WHITE,
    WRONG,
    assign_columns,
    compute_range,
    compute_row_height,
    draw_classes,
    draw_timeline,
)


@pytest.mark.parametrize('frames', [1, 699, 700, 701, 30_000])
def test_columns_cover_equal_numbers_of_frames(frames):
    column, step = assign_columns(np.arange(5, 5 + frames))
    assert column[0] == 0 and column[-1] < 700
    assert np.all(np.bincount(column)[:-1] == step)


def test_range_of_columns():
    column = np.array([0, 0, 2, 2, 2])
    low, mean, high = compute_range(column, np.array([0.2, 0.4, 0.9, 0.3, 0.6]))
    np.testing.assert_allclose(low, [0.2, np.nan, 0.3])
    np.testing.assert_allclose(mean, [0.3, np.nan, 0.6])
    np.testing.assert_allclose(high, [0.4, np.nan, 0.9])


def test_one_frame_per_column():
    truth, pred = np.array([0, 0, 2]), np.array([0, 2, 2])
    image, rows = draw_timeline(np.array([1, 2, 4]), truth, [pred], 4)
    height = compute_row_height(1)
    assert rows == [0, 2] and image.shape == (2 * height, 4, 3)
    middle = height // 2
    assert [tuple(x) for x in image[middle]] == [RIGHT, TRUTH, WHITE, BACKGROUND]
    assert [tuple(x) for x in image[height + middle]] == [BACKGROUND, WRONG, WHITE, RIGHT]
    assert tuple(image[1, 0]) == TRUTH and tuple(image[1, 3]) == BACKGROUND


def test_single_wrong_frame_of_thousands_is_visible():
    truth = np.zeros(70_000, int)
    pred = truth.copy()
    pred[34_567] = 1
    image, rows = draw_timeline(np.arange(70_000), truth, [pred, truth], 8)
    assert rows == [0, 1] and image.shape[1] == 700
    row = image[compute_row_height(2) + 4].astype(int)  # the first track
    seen = np.flatnonzero(abs(row - BACKGROUND).sum(axis=1) > 60)
    assert seen.tolist() == [345]
    assert row[345, 0] > row[345, 2] + 30  # reddish
    assert abs(image[-4].astype(int) - BACKGROUND).max() == 0  # the second track has no mistake


def test_classes_have_their_colours_and_a_single_frame_is_visible():
    duration = np.array([[1, 0.999, 0, 0], [0, 0, 0, 0], [0, 0.001, 0, 0.5]])
    image = draw_classes([0, 2], duration, duration.sum(axis=0), ['#102030', '#ff0000', '#0000ff'])
    height = compute_row_height(1)
    assert image.shape == (2 * height, 4, 3)
    upper, lower = image[height // 2], image[height + height // 2]
    assert tuple(upper[0]) == (16, 32, 48) and tuple(lower[3]) == (0, 0, 255)
    assert tuple(lower[0]) == tuple(upper[3]) == BACKGROUND
    assert tuple(upper[2]) == tuple(lower[2]) == WHITE  # no face
    assert lower[1, 2] > 240 and 120 < lower[1, 0] < 180  # 1 ms of a second, in blue
