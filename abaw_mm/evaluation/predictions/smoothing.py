"""Smoothing along the frames of one clip. Frames that are not there leave a gap and no weight."""

import numpy as np

METHODS = ('box', 'gaussian', 'median')
TAIL = 4  # standard deviations after which a Gaussian's weight, below 0.0004, counts as none
CHUNK = 1 << 22  # values that the median sorts at once: 32 MB


def smooth_scores(frame_no: np.ndarray, score: np.ndarray, method: str, width: int) -> np.ndarray:
    """Smooth the probabilities of a clip along its real frame numbers (Sec. 4.2).

    Every frame gets a mean or median of the frames around it that are there. A gap counts with
    its length: a window holds less frames beside it, never frames from further away.

    Args:
        frame_no (ndarray): (F, ) numbers of the frames, rising; at least one.
        score (ndarray): (F, C) their probabilities.
        method (str): ``'box'``, the mean over ``frame_no`` ± ``width``; ``'median'``, the median of
            each class over the same, brought to sum 1 again; ``'gaussian'``, a mean with weights
            ``exp(-0.5 (distance / width)^2)``.
        width (int): Frames; 0 changes nothing.

    Returns:
        ndarray: (F, C) float32, probabilities.

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
    """Sums of score within ± width, of all classes in one go."""
    total = np.concatenate([np.zeros((1, score.shape[1])), np.cumsum(score, axis=0)])
    first = np.searchsorted(frame_no, frame_no - width)
    last = np.searchsorted(frame_no, frame_no + width, side='right')
    return np.maximum(total[last] - total[first], 0)


def _on_every_frame(frame_no: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Scores of every number from the first frame to the last, (L, C), NaN in gaps."""
    dense = np.full((frame_no[-1] - frame_no[0] + 1, score.shape[1]), np.nan)
    dense[frame_no - frame_no[0]] = score
    return dense


def _gaussian(frame_no: np.ndarray, score: np.ndarray, width: int) -> np.ndarray:
    dense = np.nan_to_num(_on_every_frame(frame_no, score))
    reach = min(TAIL * width, len(dense) - 1)
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    smooth = np.stack([np.convolve(column, weight) for column in dense.T], axis=1)
    return smooth[reach : reach + len(dense)][frame_no - frame_no[0]]


def _median(frame_no: np.ndarray, score: np.ndarray, width: int) -> np.ndarray:
    dense = np.pad(
        _on_every_frame(frame_no, score), [(width, width), (0, 0)], constant_values=np.nan
    )
    windows = np.lib.stride_tricks.sliding_window_view(dense, 2 * width + 1, axis=0)
    rows = frame_no - frame_no[0]
    step = max(1, CHUNK // windows[0].size)
    parts = []
    for start in range(0, len(rows), step):
        values = np.sort(windows[rows[start : start + step]], axis=2)  # NaN go last
        count = np.count_nonzero(~np.isnan(values), axis=2)[..., None]
        low = np.take_along_axis(values, (count - 1) // 2, axis=2)
        high = np.take_along_axis(values, count // 2, axis=2)
        parts.append((low + high)[..., 0] / 2)
    median = np.concatenate(parts)
    # Where classes change often, all medians may be 0: then the frame stays as it is.
    return np.where(median.sum(axis=1, keepdims=True) > 0, median, score)


def hold_labels(frame_no: np.ndarray, label: np.ndarray, frames: int) -> np.ndarray:
    """Let a class begin only where it holds for some frames; shorter runs keep the one before.

    Args:
        frame_no (ndarray): (F, ) numbers of the frames of a clip, rising; at least one.
        label (ndarray): (F, ) their classes.
        frames (int): Length of a run, from its first to its last frame number, from which it
            counts.

    Returns:
        ndarray: (F, ) classes. Runs before the first that counts take its class; a clip without
        any such run stays as it is.

    >>> hold_labels(np.arange(9), np.array([5, 0, 0, 0, 1, 0, 2, 2, 2]), 3).tolist()
    [0, 0, 0, 0, 0, 0, 2, 2, 2]
    """
    starts = np.flatnonzero(np.append(True, np.diff(label) != 0))
    ends = np.append(starts[1:], len(label)) - 1
    counts = frame_no[ends] - frame_no[starts] + 1 >= frames
    if not counts.any():
        return label
    run = np.maximum.accumulate(np.where(counts, np.arange(len(starts)), -1))
    run = np.where(run < 0, counts.argmax(), run)
    return np.repeat(label[starts[run]], ends - starts + 1)
