"""Align features of sound to the frames of a video, by time."""

import numpy as np

from abaw_mm.errors import InvalidValueError

RADIUS = 0.5  # seconds on either side of a frame
MAX_BEYOND = 1.0  # seconds that frame numbers may exceed the end of a video


def align_to_frames(
    features: np.ndarray, times: np.ndarray, frame_times: np.ndarray, radius: float = RADIUS
) -> np.ndarray:
    """Average the features within ``radius`` of each frame.

    A frame without any takes the nearest in time, as before the first sound or after the last.

    Args:
        features (ndarray): (T, D), at least one row.
        times (ndarray): (T, ) time of each row in seconds, increasing.
        frame_times (ndarray): (F, ) time of each frame in seconds, in any order.
        radius (float): Seconds on either side, both ends included.

    Returns:
        ndarray: (F, D) float32.

    >>> features, times = np.array([[1.0], [3.0], [8.0]]), np.array([0.0, 0.4, 2.0])
    >>> align_to_frames(features, times, np.array([0.1, 1.0, 9.0])).ravel().tolist()
    [2.0, 3.0, 8.0]
    """
    first = np.searchsorted(times, frame_times - radius, side='left')
    last = np.searchsorted(times, frame_times + radius, side='right')
    right = np.clip(np.searchsorted(times, frame_times), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(frame_times - times[left] <= times[right] - frame_times, left, right)
    empty = last <= first
    first, last = np.where(empty, nearest, first), np.where(empty, nearest + 1, last)
    total = np.zeros((len(features) + 1, features.shape[1]))
    np.cumsum(features, axis=0, dtype=np.float64, out=total[1:])
    return ((total[last] - total[first]) / (last - first)[:, None]).astype(np.float32)


def get_frame_times(times: np.ndarray, frame_no: np.ndarray, start_index: int = 1) -> np.ndarray:
    """Return the times of frames by their numbers.

    Decoders find one or two frames more or fewer than the makers of annotations did. Numbers beyond
    the last frame follow at the mean rate, for up to a second.

    Args:
        times (ndarray): (N, ) time of each frame of the video in seconds.
        frame_no (ndarray): (F, ) numbers.
        start_index (int): Number of the video's first frame.

    Returns:
        ndarray: (F, ) float64.

    Raises:
        ValueError: If a number is below ``start_index`` or more than a second beyond the end.

    >>> get_frame_times(np.array([0.0, 0.1, 0.2]), np.array([1, 3, 4])).round(3).tolist()
    [0.0, 0.2, 0.3]
    """
    rows = np.asarray(frame_no, np.int64) - start_index
    if len(rows) and rows.min() < 0:
        raise InvalidValueError(
            f'got the frame number {rows.min() + start_index}, expected numbers from '
            f'{start_index}; set --start-index'
        )
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    beyond = np.maximum(rows - (len(times) - 1), 0)
    if len(rows) and beyond.max() * max(step, 1 / 120) > MAX_BEYOND:
        raise InvalidValueError(
            f'got frame numbers up to {rows.max() + start_index}, expected at most '
            f'{len(times) - 1 + start_index}, the frames of the video, which is another one or cut '
            'off; get it again, or move it away to mask its clips'
        )
    return times[np.minimum(rows, len(times) - 1)] + beyond * step
