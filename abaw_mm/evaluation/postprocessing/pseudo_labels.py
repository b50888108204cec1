"""Choose pseudo-labels among predictions."""

import numpy as np

from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.postprocessing.postprocess import adjust_prior
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import UNLABELLED


def choose_pseudo_labels(frames: FrameTable, threshold: float, debias: float = 0.0) -> np.ndarray:
    """Return the most likely class of each frame, -1 where its probability is too low.

    A network predicts frequent classes even more often, and training on its predictions reinforces
    this. Debiasing divides the probabilities by their mean over all frames to the power of
    ``debias`` and renormalises, after Wang et al., "Debiased Learning from Naturally Imbalanced
    Pseudo-Labels" (arXiv 2201.01490), who use a running mean during training.

    Args:
        frames (FrameTable): Frames with ``pred_score`` (F, C).
        threshold (float): Probability of a class, after debiasing, from which it is used, in 0-1.
        debias (float): 0 changes nothing, 1 divides by the mean itself. Defaults to 0.

    Returns:
        ndarray: (F,) int32.

    Raises:
        ValueError: If an argument is out of range.

    >>> frames = FrameTable(['a'], np.zeros(2, int), np.arange(2), dict(
    ...     pred_score=np.array([[.9, .1], [.6, .4]])))
    >>> choose_pseudo_labels(frames, 0.7).tolist(), choose_pseudo_labels(frames, 0.6, 1).tolist()
    ([0, -1], [0, 1])
    """
    if not 0 <= threshold <= 1 or not 0 <= debias <= 1:
        raise InvalidValueError(
            f'got --threshold {threshold} and --debias {debias}, expected values in 0-1'
        )
    score = frames['pred_score']
    if debias and len(score):
        mean = score.mean(axis=0, dtype=np.float64)
        score = adjust_prior(score, np.maximum(mean, np.finfo(np.float32).tiny), debias)
    label = score.argmax(axis=1).astype(np.int32)
    return np.where(score.max(axis=1) >= threshold, label, UNLABELLED).astype(np.int32)
