"""Smooth the predictions of one clip along its frame numbers.

Missing frames have no weight.
"""

import numpy as np

METHODS = ('box', 'gaussian', 'median')
TAIL = 4  # standard deviations; beyond them Gaussian weights, below 0.0004, are left out
CHUNK = 1 << 22  # values that the median sorts at a time: 32 MB


def smooth_scores(frame_no: np.ndarray, score: np.ndarray, method: str, width: int) -> np.ndarray:
    """Smooth the probabilities of a clip along its frame numbers (Sec. 4.2).

    Each frame gets the mean or median of the existing frames in a window around it. Windows are
    measured in frame numbers: windows next to a gap contain fewer frames.

    Args:
        frame_no (ndarray): (F,) frame numbers, increasing; at least one.
        score (ndarray): (F, C) probabilities.
        method (str): ``'box'``: mean over ``frame_no`` ± ``width``. ``'median'``: median of each
            class over the same window, renormalised. ``'gaussian'``: mean with the weights
            ``exp(-0.5 (distance / width)^2)``.
        width (int): Width in frames. 0 changes nothing.

    Returns:
        ndarray: (F, C) float32 probabilities.

    >>> frame_no = np.array([1, 2, 3, 9])
    >>> score = np.array([[1., 0.], [1., 0.], [0., 1.], [0., 1.]])
    >>> smooth_scores(frame_no, score, 'box', 1)[:, 0]
    array([1.       , 0.6666667, 0.5      , 0.       ], dtype=float32)
    """
    if width == 0:
        return score.astype(np.float32)
    score = score.astype(np.float64)
    if method == 'box':
        smooth = _box(frame_no, score, width)
    elif method == 'median':
        smooth = _median(frame_no, score, width)
    else:
        smooth = _gaussian(frame_no, score, width)
    return (smooth / smooth.sum(axis=1, keepdims=True)).astype(np.float32)


def _box(frame_no: np.ndarray, score: np.ndarray, width: int) -> np.ndarray:
    """Sum scores within ± width of each frame."""
    total = np.concatenate([np.zeros((1, score.shape[1])), np.cumsum(score, axis=0)])
    first = np.searchsorted(frame_no, frame_no - width)
    last = np.searchsorted(frame_no, frame_no + width, side='right')
    return np.maximum(total[last] - total[first], 0)


def _expand_gaps(frame_no: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Expand scores to all frame numbers from the first to the last, (L, C), NaN in gaps."""
    dense = np.full((frame_no[-1] - frame_no[0] + 1, score.shape[1]), np.nan)
    dense[frame_no - frame_no[0]] = score
    return dense


def _gaussian(frame_no: np.ndarray, score: np.ndarray, width: int) -> np.ndarray:
    dense = np.nan_to_num(_expand_gaps(frame_no, score))
    reach = min(TAIL * width, len(dense) - 1)
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    smooth = np.stack([np.convolve(column, weight) for column in dense.T], axis=1)
    return smooth[reach : reach + len(dense)][frame_no - frame_no[0]]


def _median(frame_no: np.ndarray, score: np.ndarray, width: int) -> np.ndarray:
    dense = np.pad(_expand_gaps(frame_no, score), [(width, width), (0, 0)], constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(dense, 2 * width + 1, axis=0)
    rows = frame_no - frame_no[0]
    step = max(1, CHUNK // windows[0].size)
    parts = []
    for start in range(0, len(rows), step):
        values = np.sort(
            windows[rows[start : start + step]], axis=2
        )  # NaN values are sorted to the end
        count = np.count_nonzero(~np.isnan(values), axis=2)[..., None]
        low = np.take_along_axis(values, (count - 1) // 2, axis=2)
        high = np.take_along_axis(values, count // 2, axis=2)
        parts.append((low + high)[..., 0] / 2)
    median = np.concatenate(parts)
    # Where classes change often, all medians may be 0. Such a frame keeps its scores.
    return np.where(median.sum(axis=1, keepdims=True) > 0, median, score)


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
