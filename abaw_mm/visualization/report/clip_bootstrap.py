"""Bootstrap over clips: how much scores vary with the choice of clips."""

import numpy as np

from abaw_mm.evaluation.metrics.macro_f1 import f1_of_counts
from abaw_mm.structures.frame_table import FrameTable

DRAWS = 1000
PERCENTILES = (2.5, 97.5)  # ends of an interval with 95 % of the draws


def confusion_per_clip(frames: FrameTable, num_classes: int) -> np.ndarray:
    """Count the frames of each clip by label and prediction.

    Args:
        frames (FrameTable): Frames with the columns ``gt_label``, never hidden, and ``pred_label``.
        num_classes (int): Number C of classes.

    Returns:
        ndarray: (K, C, C) int64; ``[k, i, j]`` is the number of frames of clip k that are labelled
        i and predicted j.
    """
    cell = (frames.clip_id.astype(np.int64) * num_classes + frames['gt_label']) * num_classes
    counts = np.bincount(cell + frames['pred_label'], minlength=len(frames.clips) * num_classes**2)
    return counts.reshape(-1, num_classes, num_classes)


def resample(counts: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Sum what was counted in each clip over sets of K clips, drawn with replacement.

    The frames of a clip show one face in one light and are nearly equal. Drawing single frames
    would make the interval much too narrow. The same seed draws the same clips, so that the
    difference of two models has an interval, too.

    Args:
        counts (ndarray): (K, ...) counts or sums of each clip, of clips with frames.
        draws (int): Number D of sets. Defaults to 1000.
        seed (int): Seed of the draws. Defaults to 0.

    Returns:
        ndarray: (D, ...) sums over each set.

    >>> resample(np.array([[1, 2]]), draws=2).tolist()  # all draws of one clip are equal
    [[1, 2], [1, 2]]
    """
    clips = len(counts)
    times = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), draws)
    return (times @ counts.reshape(clips, -1)).reshape(draws, *counts.shape[1:])


def resample_f1(
    confusion: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the F1 of each class on sets of K clips, see :func:`resample`.

    Args:
        confusion (ndarray): (K, C, C) result of :func:`confusion_per_clip`, for clips with frames.
        draws (int): Number D of sets. Defaults to 1000.
        seed (int): Seed of the draws. Defaults to 0.

    Returns:
        tuple: F1 (D, C) in 0-1 and support (D, C) in frames, for :func:`mean_f1`.

    >>> f1, support = resample_f1(np.array([[[3, 1], [0, 4]]]), draws=2)
    >>> support.tolist(), f1[0].round(3).tolist()  # all draws of one clip are equal
    ([[4, 4], [4, 4]], [0.857, 0.889])
    """
    drawn = resample(confusion, draws, seed)
    hits, support = drawn.diagonal(axis1=1, axis2=2), drawn.sum(axis=2)
    return f1_of_counts(hits, drawn.sum(axis=1), support), support


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of draws (D,)."""
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)
