"""Compare the confidence of a network with its accuracy."""

from dataclasses import dataclass

import numpy as np

NUM_BINS = 15  # as in Guo et al., arXiv 1706.04599


@dataclass(frozen=True)
class Calibration:
    """Accuracy by confidence, the probability of the predicted class, in B bins.

    Attributes:
        edges (ndarray): (B + 1,) edges of the bins, equally spaced from 0 to 1.
        count (ndarray): (B,) number of frames in each bin.
        confidence (ndarray): (B,) mean confidence in each bin, NaN for empty bins.
        accuracy (ndarray): (B,) accuracy in each bin in 0-1, NaN for empty bins.
        error (float): Expected calibration error in 0-1: the mean absolute difference of accuracy
            and confidence, weighted by frames (Guo et al., arXiv 1706.04599, Eq. 3).
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def calibrate(
    confidence: np.ndarray, is_correct: np.ndarray, num_bins: int = NUM_BINS
) -> Calibration:
    """Compute accuracy by confidence and the expected calibration error.

    Args:
        confidence (ndarray): (F,) probability of the predicted class, in 0-1.
        is_correct (ndarray): (F,) bool.
        num_bins (int): Number B of bins. A value on an edge belongs to the bin below. Defaults to
            15.

    >>> result = calibrate(np.array([.9, .9, .6, .6]), np.array([1, 1, 1, 0], bool), 2)
    >>> round(result.error, 2), result.count.tolist()
    (0.0, [0, 4])
    """
    confidence = confidence.astype(np.float64)
    at = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(at, minlength=num_bins)
    with np.errstate(invalid='ignore'):  # 0 / 0 in empty bins
        mean = np.bincount(at, confidence, num_bins) / count
        accuracy = np.bincount(at, is_correct, num_bins) / count
    distance = np.nan_to_num(abs(accuracy - mean))
    return Calibration(
        np.linspace(0, 1, num_bins + 1),
        count,
        mean,
        accuracy,
        float(distance @ count / max(1, count.sum())),
    )
