"""How far scores would move with other clips: the bootstrap over clips."""

import numpy as np

from abaw_mm.evaluation.metrics.frame_metric import FrameResults
from abaw_mm.evaluation.metrics.macro_f1 import f1_of_counts

DRAWS = 1000
PERCENTILES = (2.5, 97.5)  # the ends of an interval that holds 95 % of the draws


def confusion_per_clip(results: FrameResults, num_classes: int) -> np.ndarray:
    """Count the frames of each clip by label and prediction.

    Args:
        results: Frames that all have a label.
        num_classes (int): Number C of classes.

    Returns:
        ndarray: (K, C, C) int64; ``[k, i, j]`` are the frames of clip k labelled i, predicted j.
    """
    cell = (results.clip_id.astype(np.int64) * num_classes + results.gt_label) * num_classes
    counts = np.bincount(cell + results.pred_label, minlength=len(results.clips) * num_classes**2)
    return counts.reshape(-1, num_classes, num_classes)


def resample_f1(
    confusion: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """F1 per class of sets of as many clips, drawn with replacement from those there are.

    Frames of a clip are one face in one light and nearly repeat each other; frames drawn one by
    one would make the interval far too narrow. The same seed draws the same clips, so that the
    difference of two models has an interval, too.

    Args:
        confusion (ndarray): (K, C, C) of :func:`confusion_per_clip`, of clips with a frame.
        draws (int): Number D of sets.
        seed (int): Of the draws.

    Returns:
        tuple: F1 (D, C) in 0-1, and support (D, C) in frames, for :func:`mean_f1`.

    >>> f1, support = resample_f1(np.array([[[3, 1], [0, 4]]]), draws=2)
    >>> support.tolist(), f1[0].round(3).tolist()  # of one clip every draw is the same
    ([[4, 4], [4, 4]], [0.857, 0.889])
    """
    clips, num_classes = confusion.shape[:2]
    times = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), draws)
    drawn = (times @ confusion.reshape(clips, -1)).reshape(draws, num_classes, num_classes)
    hits, support = drawn.diagonal(axis1=1, axis2=2), drawn.sum(axis=2)
    return f1_of_counts(hits, drawn.sum(axis=1), support), support


def interval(values: np.ndarray) -> tuple[float, float]:
    """The percentile interval of draws (D, )."""
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)
