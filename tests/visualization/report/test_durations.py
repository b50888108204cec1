"""Durations of what frames of a video show."""

import numpy as np
import pytest

from abaw_mm.visualization.report.durations import find_ends, find_stretches, integrate


@pytest.mark.parametrize('keep', [1.0, 0.6, 0.0])
def test_integral_equals_sums_over_fine_steps(keep):
    rng = np.random.default_rng(0)
    time = np.round(np.cumsum(rng.choice([0.0, 0.01, 0.03, 0.04, 0.5], 50)), 2)
    end = find_ends(time)
    rows = np.flatnonzero(rng.random(50) < keep)
    value = rng.random(len(rows))
    edges = np.array([time[0] - 1, 0.3, 0.31, 1.77, 4, end[-1] + 1])
    middle = (np.arange(round((edges[-1] - edges[0]) * 1000)) + 0.5) / 1000 + edges[0]
    shown = np.zeros(len(middle))
    for start, stop, x in zip(time[rows], end[rows], value, strict=True):
        shown[(middle > start) & (middle < stop)] = x
    expected = np.histogram(middle, edges, weights=shown / 1000)[0]
    got = integrate(time[rows], end[rows], value, edges)
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_the_last_frame_is_as_long_as_others():
    assert find_ends(np.array([1.0, 1.1, 1.2, 9])).tolist() == pytest.approx([1.1, 1.2, 9, 9.1])
    assert find_ends(np.array([3.0])) == pytest.approx([3.04])
    assert len(find_ends(np.empty(0))) == 0


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', []),
        ('...', []),
        ('xx', [[0, 1]]),
        ('.x.xx', [[1, 1], [3, 4]]),
        ('x..x', [[0, 0], [3, 3]]),
    ],
)
def test_stretches(text, expected):
    assert find_stretches(np.array([c == 'x' for c in text], bool)).tolist() == expected
