"""How long something lasts in a video whose frames have times."""

import numpy as np

SINGLE = 0.04  # seconds that the only frame of a video lasts


def find_ends(time: np.ndarray) -> np.ndarray:
    """Return when each frame of a video ends: at the time of the next one.

    Args:
        time (ndarray): (T,) time of every frame in seconds, not decreasing.

    Returns:
        ndarray: (T,) float64. The last frame lasts as long as the median of the others.

    >>> find_ends(np.array([0, 0.5, 1.5, 2.5])).tolist()
    [0.5, 1.5, 2.5, 3.5]
    """
    last = float(np.median(np.diff(time))) if len(time) > 1 else 0
    return np.append(time[1:], time[-1:] + (last or SINGLE))


def integrate(
    start: np.ndarray, end: np.ndarray, value: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Integrate a value that some frames have over the time in each of a number of columns.

    Args:
        start (ndarray): (F,) seconds, not decreasing.
        end (ndarray): (F,) seconds, at most the next start.
        value (ndarray): (F,) values; 0 between the frames.
        edges (ndarray): (K + 1,) edges of the columns in seconds, increasing.

    Returns:
        ndarray: (K,) float64, value times seconds.

    >>> integrate(np.array([0, 3]), np.array([2, 4]), np.array([1, 5]), np.array([0, 1, 3.5, 9]))
    array([1. , 3.5, 2.5])
    """
    if not len(start):
        return np.zeros(len(edges) - 1)
    area = np.cumsum(value * (end - start), dtype=np.float64)
    knots = np.stack([start, end], axis=1).ravel()
    total = np.stack([np.append(0, area[:-1]), area], axis=1).ravel()
    return np.diff(np.interp(edges, knots, total))


def find_stretches(is_in: np.ndarray) -> np.ndarray:
    """Find the stretches of neighbouring frames for which something is true.

    Args:
        is_in (ndarray): (T,) bool.

    Returns:
        ndarray: (S, 2) int, first and last frame of each stretch.

    >>> find_stretches(np.array([True, True, False, True])).tolist()
    [[0, 1], [3, 3]]
    """
    step = np.diff(np.concatenate([[0], is_in.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(step == 1), np.flatnonzero(step == -1) - 1], axis=1)
