"""Smooth the predictions of one clip along its frame numbers or its time stamps.

Missing frames have no weight.
"""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import median_filter

METHODS = ('box', 'gaussian', 'median')
ROUNDING = 1e-6  # seconds; frames at the edge of a window belong to it whatever their rounding
TAIL = 4  # standard deviations; beyond them Gaussian weights, below 0.0004, are left out
CHUNK = 1 << 22  # values that the median sorts at a time: 32 MB


def smooth_scores(position: np.ndarray, score: np.ndarray, method: str, width: float) -> np.ndarray:
    """Smooth the probabilities of a clip along its frame numbers (Sec. 4.2) or its time stamps.

    Each frame gets the mean or median of the existing frames in a window around it. Windows next to
    a gap contain fewer frames. A width in frames counts on each side of the frame; a width in
    seconds is that of the whole window, so that ``box`` over 1 s is a mean over ±0.5 s.

    Args:
        position (ndarray): (F,) frame numbers, increasing, or float64 times in seconds, not
            decreasing; at least one.
        score (ndarray): (F, C) probabilities.
        method (str): ``'box'``: mean over the window, which includes its edges. ``'median'``:
            median of each class over the same window, renormalised. ``'gaussian'``: mean with the
            weights ``exp(-0.5 (distance / width)^2)``; the width is the standard deviation.
        width (float): Width, in frames for frame numbers and in seconds for times. 0 changes
            nothing.

    Returns:
        ndarray: (F, C) float32 probabilities.

    >>> frame_no = np.array([1, 2, 3, 9])
    >>> score = np.array([[1., 0.], [1., 0.], [0., 1.], [0., 1.]])
    >>> smooth_scores(frame_no, score, 'box', 1)[:, 0]
    array([1.       , 0.6666667, 0.5      , 0.       ], dtype=float32)
    >>> smooth_scores(frame_no / 25, score, 'box', 0.08)[:, 0]
    array([1.       , 0.6666667, 0.5      , 0.       ], dtype=float32)
    """
    if width == 0:
        return score.astype(np.float32)
    score = score.astype(np.float64)
    is_time = position.dtype.kind == 'f'
    reach = width / 2 + ROUNDING if is_time else width
    if method == 'box':
        smooth = _box(position, score, reach)
    elif method == 'median':
        smooth = _median(position, score, reach)
    elif is_time:
        smooth = _gaussian(position, score, width)
    else:
        smooth = _convolve(position, score, width)
    return (smooth / smooth.sum(axis=1, keepdims=True)).astype(np.float32)


def smooth_values(
    position: np.ndarray, values: np.ndarray, method: str, width: float, low: float, high: float
) -> np.ndarray:
    """Smooth values that are independent of each other, such as valence and arousal.

    Each value and its complement, scaled to 0-1, are smoothed as the probabilities of two classes.

    Args:
        position (ndarray): (F,) as in :func:`smooth_scores`.
        values (ndarray): (F, K) values.
        method (str): As in :func:`smooth_scores`.
        width (float): As in :func:`smooth_scores`.
        low (float): Lowest possible value.
        high (float): Highest possible value.

    Returns:
        ndarray: (F, K) float32.

    >>> smooth_values(np.arange(3), np.array([[-1.0], [0.5], [0.5]]), 'box', 1, -1, 1)[:, 0]
    array([-0.25,  0.  ,  0.5 ], dtype=float32)
    """
    share = (values.astype(np.float64) - low) / (high - low)
    pairs = np.concatenate([share, 1 - share], axis=1)
    size = values.shape[1]
    smooth = smooth_scores(position, pairs, method, width)[:, :size].astype(np.float64)
    if width:
        smooth = smooth * size  # the scores of a frame sum to 1
    return np.clip(low + (high - low) * smooth, low, high).astype(np.float32)


def _find_windows(position: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row within ± reach of each frame, and the row after the last one."""
    first = np.searchsorted(position, position - reach)
    return first, np.searchsorted(position, position + reach, side='right')


def _read_windows(
    position: np.ndarray, score: np.ndarray, reach: float, wanted: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows around some of the wanted frames, (n, K), and their scores, (n, C, K).

    The row after the last, with NaN for scores, pads windows with fewer than K frames.
    """
    first, last = (ends[wanted] for ends in _find_windows(position, reach))
    columns = np.full((score.shape[1], len(score) + 1), np.nan)
    columns[:, :-1] = score.T
    step = max(1, CHUNK // int((last - first).max(initial=1) * score.shape[1]))
    for start in range(0, len(wanted), step):
        low, high = first[start : start + step, None], last[start : start + step, None]
        rows = low + np.arange((high - low).max())
        rows[rows >= high] = len(score)
        yield rows, columns[:, rows].swapaxes(0, 1)


def _box(position: np.ndarray, score: np.ndarray, reach: float) -> np.ndarray:
    """Sum scores within ± reach of each frame."""
    total = np.concatenate([np.zeros((1, score.shape[1])), np.cumsum(score, axis=0)])
    first, last = _find_windows(position, reach)
    return np.maximum(total[last] - total[first], 0)


def _median(position: np.ndarray, score: np.ndarray, reach: float) -> np.ndarray:
    median = np.empty_like(score)
    first, last = _find_windows(position, reach)
    row, half = np.arange(len(score)), int(reach)
    full = (first == row - half) & (last == row + half + 1)  # SciPy is 20 times as fast for these
    if full.any():
        for column, found in zip(score.T, median.T, strict=True):
            found[full] = median_filter(column, 2 * half + 1)[full]
    parts = [np.empty((0, score.shape[1]))]
    for rows, values in _read_windows(position, score, reach, row[~full]):
        values = np.sort(values, axis=2)  # NaN values are sorted to the end
        count = np.count_nonzero(rows < len(score), axis=1)[:, None, None]
        low = np.take_along_axis(values, (count - 1) // 2, axis=2)
        high = np.take_along_axis(values, count // 2, axis=2)
        parts.append((low + high)[..., 0] / 2)
    median[~full] = np.concatenate(parts)
    # Where classes change often, all medians may be 0. Such a frame keeps its scores.
    return np.where(median.sum(axis=1, keepdims=True) > 0, median, score)


def _gaussian(position: np.ndarray, score: np.ndarray, width: float) -> np.ndarray:
    padded = np.append(position, np.inf)  # infinitely far: no weight
    parts, start = [], 0
    for rows, values in _read_windows(
        position, score, TAIL * width + ROUNDING, np.arange(len(score))
    ):
        here = position[start : start + len(rows), None]
        weight = np.exp(-0.5 * ((padded[rows] - here) / width) ** 2)
        parts.append((np.nan_to_num(values) @ weight[..., None])[..., 0])
        start += len(rows)
    return np.concatenate(parts)


def _convolve(frame_no: np.ndarray, score: np.ndarray, width: float) -> np.ndarray:
    """Compute :func:`_gaussian` for integers, as a convolution, which is much faster."""
    dense = np.zeros((frame_no[-1] - frame_no[0] + 1, score.shape[1]))
    dense[frame_no - frame_no[0]] = score
    reach = min(int(TAIL * width), len(dense) - 1)
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    smooth = np.stack([np.convolve(column, weight) for column in dense.T], axis=1)
    return smooth[reach : reach + len(dense)][frame_no - frame_no[0]]


def hold_labels(
    frame_no: np.ndarray, label: np.ndarray, frames: int, kept: np.ndarray | None = None
) -> np.ndarray:
    """Replace runs of a class that are too short by the class of the run before.

    Args:
        frame_no (ndarray): (F,) frame numbers of a clip, increasing; at least one.
        label (ndarray): (F,) classes.
        frames (int): Minimum length of a run, from its first to its last frame number.
        kept (ndarray, optional): (F,) bool. Runs with such a frame are not replaced. Defaults to
            none.

    Returns:
        ndarray: (F,) classes. Short runs at the start take the class of the first run that is long
        enough. A clip without such a run is unchanged.

    >>> hold_labels(np.arange(9), np.array([5, 0, 0, 0, 1, 0, 2, 2, 2]), 3).tolist()
    [0, 0, 0, 0, 0, 0, 2, 2, 2]
    """
    starts = np.flatnonzero(np.append(True, np.diff(label) != 0))
    ends = np.append(starts[1:], len(label)) - 1
    is_long = frame_no[ends] - frame_no[starts] + 1 >= frames
    if kept is not None:
        is_long |= np.logical_or.reduceat(kept, starts)
    if not is_long.any():
        return label
    run = np.maximum.accumulate(np.where(is_long, np.arange(len(starts)), -1))
    run = np.where(run < 0, is_long.argmax(), run)
    return np.repeat(label[starts[run]], ends - starts + 1)
