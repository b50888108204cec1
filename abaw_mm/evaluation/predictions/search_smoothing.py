"""Choose a smoothing by cross-validation over clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abaw_mm.datasets.annotations import UNLABELLED
from abaw_mm.datasets.folds import split_folds
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.macro_f1 import score_labels
from abaw_mm.evaluation.predictions.postprocess import Postprocess
from abaw_mm.evaluation.predictions.predictions import Predictions


@dataclass(frozen=True)
class SearchResult:
    """Result of a search: macro-F1 in %, over all labelled frames together.

    Attributes:
        before (float): Score of the predictions without postprocessing.
        scores (list[float]): Score of each candidate.
        best (int): Candidate with the highest score, the first one on a tie.
        chosen (list[int]): For each fold, the best candidate on the other folds.
        held_out (float): Score when each fold uses the candidate chosen on the other folds. This
            is what to expect of ``best`` on other videos. ``scores[best]`` is higher because the
            choice is scored on the clips that it was made on.
    """

    before: float
    scores: list[float]
    best: int
    chosen: list[int]
    held_out: float


def search_smoothing(
    predictions: Predictions, candidates: Sequence[Postprocess], num_folds: int = 5, seed: int = 0
) -> SearchResult:
    """Score candidates, and estimate the gain of choosing the best one by cross-validation.

    The folds are those of :func:`split_folds`, which keeps the clips of a raw video together. No
    choice is scored on the clips that it was made on. All frames are smoothed, labelled frames are
    scored.

    Args:
        predictions (Predictions): Predictions with labels.
        candidates (Sequence[Postprocess]): At least one. Include ``Postprocess()``, which changes
            nothing, so that a fold may choose it.
        num_folds (int): Number of folds. Defaults to 5.
        seed (int): Seed of the folds. Defaults to 0.

    Raises:
        ValueError: If no frame has a label, or there are fewer raw videos than folds.
    """
    target = predictions['gt_label']
    known = target != UNLABELLED
    if not known.any():
        raise InvalidValueError(
            'got predictions without labels, expected those of an annotated set; search on the '
            'validation set'
        )
    fold_of = _assign_folds(predictions, num_folds, seed)
    found = [candidate(predictions)['pred_label'] for candidate in candidates]

    def macro_f1(label: np.ndarray, rows: np.ndarray) -> float:
        return score_labels(label[rows], target[rows], predictions.classes)['macro_f1']

    scores = [macro_f1(label, known) for label in found]
    chosen, held_out = [], predictions['pred_label'].copy()
    for fold in range(num_folds):
        others = known & (fold_of != fold)
        best = int(np.argmax([macro_f1(label, others) for label in found]))
        chosen.append(best)
        held_out[fold_of == fold] = found[best][fold_of == fold]
    return SearchResult(
        before=macro_f1(predictions['pred_label'], known),
        scores=scores,
        best=int(np.argmax(scores)),
        chosen=chosen,
        held_out=macro_f1(held_out, known),
    )


def _assign_folds(predictions: Predictions, num_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each frame, (F,), -1 for clips without labels."""
    rows = dict(zip(predictions.clips, predictions.rows_by_clip(), strict=True))
    labels = {clip: predictions['gt_label'][at] for clip, at in rows.items()}
    fold_of = np.full(len(predictions), -1)
    for fold, clips in enumerate(split_folds(labels, num_folds, seed)):
        for clip in clips:
            fold_of[rows[clip]] = fold
    return fold_of
