"""Whether a network is right as often as it says."""

from dataclasses import dataclass

import numpy as np

NUM_BINS = 15  # as in Guo et al.


@dataclass(frozen=True)
class Calibration:
    """Frames by their confidence, the probability of the class that was chosen.

    Attributes:
        edges (ndarray): (B + 1, ) of the bins, 0 to 1, all as wide.
        count (ndarray): (B, ) frames in each.
        confidence (ndarray): (B, ) their mean confidence, NaN without any.
        accuracy (ndarray): (B, ) share that is right, NaN without any.
        error (float): Expected calibration error in 0-1: the mean distance of the two, each bin
            with the weight of its frames (Guo et al., arXiv 1706.04599, Eq. 3).
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def calibrate(confidence: np.ndarray, right: np.ndarray, num_bins: int = NUM_BINS) -> Calibration:
    """Compare confidence and accuracy.

    Args:
        confidence (ndarray): (F, ) in 0-1.
        right (ndarray): (F, ) bool.
        num_bins (int): Number B of bins. A confidence on an edge counts in the bin below it.

    >>> result = calibrate(np.array([.9, .9, .6, .6]), np.array([1, 1, 1, 0], bool), 2)
    >>> round(result.error, 2), result.count.tolist()
    (0.0, [0, 4])
    """
    confidence = confidence.astype(np.float64)
    at = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(at, minlength=num_bins)
    with np.errstate(invalid='ignore'):  # 0 / 0 of an empty bin
        mean = np.bincount(at, confidence, num_bins) / count
        accuracy = np.bincount(at, right, num_bins) / count
    distance = np.nan_to_num(abs(accuracy - mean))
    return Calibration(
        np.linspace(0, 1, num_bins + 1),
        count,
        mean,
        accuracy,
        float(distance @ count / max(1, count.sum())),
    )
