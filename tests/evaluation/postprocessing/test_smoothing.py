"""Smoothing along frame numbers and times, against loops over frames."""

import numpy as np
import pytest

from abaw_mm.evaluation.postprocessing import smoothing
from abaw_mm.evaluation.postprocessing.smoothing import hold_labels, smooth_scores


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    frame_no = np.sort(rng.choice(np.arange(1, 70), 40, replace=False))
    return frame_no, rng.dirichlet(np.ones(8) / 2, 40).astype(np.float32)


def smooth_in_loop(frame_no, score, method, width):
    out = []
    for n in frame_no:
        distance = abs(frame_no - n)
        inside = score[distance <= width].astype(float)
        if method == 'box':
            row = inside.mean(axis=0)
        elif method == 'median':
            row = np.median(inside, axis=0)
        else:
            weight = np.exp(-0.5 * (distance / width) ** 2)
            row = (weight[:, None] * score).sum(axis=0)
        out.append(row / row.sum())
    return np.array(out)


@pytest.mark.parametrize('method', smoothing.METHODS)
@pytest.mark.parametrize('width', [1, 4, 30, 200])
def test_smoothing_equals_a_loop(clip, method, width, monkeypatch):
    monkeypatch.setattr(smoothing, 'TAIL', 60)  # keep all weights
    monkeypatch.setattr(smoothing, 'CHUNK', 100)  # several chunks
    smooth = smooth_scores(*clip, method, width)
    assert smooth.dtype == np.float32
    np.testing.assert_allclose(smooth, smooth_in_loop(*clip, method, width), atol=1e-6)


def test_gaussian_without_tail_is_close(clip):
    np.testing.assert_allclose(
        smooth_scores(*clip, 'gaussian', 5), smooth_in_loop(*clip, 'gaussian', 5), atol=1e-3
    )


@pytest.fixture
def timed_clip(clip):
    """Frames at irregular times, some at the same time, with a gap of 3 s."""
    gap = np.random.default_rng(1).choice([0, 0.001, 0.0167, 0.0334, 0.2], 40)
    gap[20] = 3
    return np.cumsum(gap), clip[1]


@pytest.mark.parametrize('method', smoothing.METHODS)
@pytest.mark.parametrize('width', [0.05, 0.4, 1.0, 30])
def test_smoothing_by_time_equals_a_loop(timed_clip, method, width, monkeypatch):
    monkeypatch.setattr(smoothing, 'TAIL', 600)  # keep all weights
    monkeypatch.setattr(smoothing, 'CHUNK', 100)  # several chunks
    reach = width if method == 'gaussian' else width / 2 + 1e-9
    np.testing.assert_allclose(
        smooth_scores(*timed_clip, method, width),
        smooth_in_loop(*timed_clip, method, reach),
        atol=1e-6,
    )


@pytest.mark.parametrize('method', smoothing.METHODS)
@pytest.mark.parametrize(('rate', 'frames'), [(30, 15), (30000 / 1001, 14), (25, 12)])
def test_a_window_of_a_second_at_a_constant_rate(clip, method, rate, frames):
    """Rounding of times does not decide whether a frame at the edge belongs to the window."""
    frame_no, score = clip
    times = frame_no / rate + 7.3
    same = smooth_scores(times, score, method, frames / rate if method == 'gaussian' else 1.0)
    np.testing.assert_allclose(same, smooth_scores(frame_no, score, method, frames), atol=1e-6)


@pytest.mark.parametrize('width', [1, 4, 30])
def test_median_is_exact(clip, width):
    frame_no, score = clip
    median = np.stack(
        [np.median(score[abs(frame_no - n) <= width].astype(float), axis=0) for n in frame_no]
    )
    expected = (median / median.sum(axis=1, keepdims=True)).astype(np.float32)
    np.testing.assert_array_equal(smooth_scores(*clip, 'median', width), expected)


@pytest.mark.parametrize('method', smoothing.METHODS)
def test_smoothing_does_not_cross_a_wide_gap(method):
    frame_no = np.array([1, 2, 3, 1000])
    score = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    np.testing.assert_array_equal(smooth_scores(frame_no, score, method, 50), score)
    assert smooth_scores(frame_no[:1], score[:1], method, 3).tolist() == [[1, 0]]


def test_width_0_and_a_median_of_zeros_change_nothing(clip):
    np.testing.assert_array_equal(smooth_scores(*clip, 'box', 0), clip[1])
    changing = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(smooth_scores(np.arange(3), changing, 'median', 2), changing)


@pytest.mark.parametrize(
    ('frame_no', 'label', 'frames', 'expected'),
    [
        ([1, 2, 3, 4, 5], [0, 0, 1, 0, 0], 2, [0, 0, 0, 0, 0]),
        ([1, 2, 3, 4, 5], [0, 0, 1, 2, 2], 2, [0, 0, 0, 2, 2]),
        ([1, 2, 3, 4, 5], [3, 1, 1, 2, 2], 2, [1, 1, 1, 2, 2]),  # the first run is too short
        ([1, 2, 8, 9], [0, 0, 1, 1], 3, [0, 0, 1, 1]),  # no run is long enough
        ([1, 2, 3, 9], [0, 0, 1, 1], 3, [1, 1, 1, 1]),  # a gap counts as part of the run
        ([5], [4], 9, [4]),
    ],
)
def test_hold_replaces_short_runs(frame_no, label, frames, expected):
    assert hold_labels(np.array(frame_no), np.array(label), frames).tolist() == expected
