"""Which smoothing helps, and by how much on clips that had no say in the choice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abaw_mm.datasets.annotations import UNLABELLED
from abaw_mm.datasets.folds import split_folds
from abaw_mm.evaluation.metrics.macro_f1 import score_labels
from abaw_mm.evaluation.predictions.postprocess import Postprocess
from abaw_mm.evaluation.predictions.predictions import Predictions


@dataclass(frozen=True)
class SearchResult:
    """What a search found; macro-F1 in %, over all labelled frames together.

    Attributes:
        before (float): Of the predictions as they are.
        scores (list[float]): With each candidate.
        best (int): The candidate with the highest score, the first of equals.
        chosen (list[int]): For each fold, the candidate that is the best on the other folds.
        held_out (float): Each fold with the candidate that the other folds chose: what to expect
            of ``best`` on other videos. ``scores[best]`` is higher by what the choice has learnt
            from the very clips it is scored on.
    """

    before: float
    scores: list[float]
    best: int
    chosen: list[int]
    held_out: float


def search_smoothing(
    predictions: Predictions, candidates: Sequence[Postprocess], num_folds: int = 5, seed: int = 0
) -> SearchResult:
    """Score candidates, and the choice among them by clip-wise cross-validation.

    Folds are those of :func:`split_folds`: the clips of a raw video stay together. No choice is
    scored on the clips that it was made on. All frames take part in the smoothing, labelled frames
    in the scores.

    Args:
        predictions: With labels.
        candidates: At least one; include ``Postprocess()``, which changes nothing, so that a fold
            may choose it.
        num_folds: Number of folds.
        seed: Of the folds.

    Raises:
        ValueError: If no frame has a label, or there are less raw videos than folds.
    """
    target = predictions.gt_label
    known = target != UNLABELLED
    if not known.any():
        raise ValueError(
            'got predictions without labels, expected those of an annotated set; search on the '
            'validation set'
        )
    ends = np.searchsorted(predictions.clip_id, np.arange(len(predictions.clips) + 1))
    labels = {clip: target[slice(*ends[i : i + 2])] for i, clip in enumerate(predictions.clips)}
    folds = split_folds(labels, num_folds, seed)
    fold_of_clip = np.full(len(predictions.clips), -1)
    for fold, clips in enumerate(folds):
        fold_of_clip[[predictions.clips.index(clip) for clip in clips]] = fold
    fold_of = fold_of_clip[predictions.clip_id]
    found = [candidate(predictions).pred_label for candidate in candidates]

    def macro_f1(label: np.ndarray, rows: np.ndarray) -> float:
        return score_labels(label[rows], target[rows], predictions.classes)['macro_f1']

    scores = [macro_f1(label, known) for label in found]
    chosen, held_out = [], predictions.pred_label.copy()
    for fold in range(num_folds):
        others = known & (fold_of != fold)
        best = int(np.argmax([macro_f1(label, others) for label in found]))
        chosen.append(best)
        held_out[fold_of == fold] = found[best][fold_of == fold]
    return SearchResult(
        macro_f1(predictions.pred_label, known),
        scores,
        int(np.argmax(scores)),
        chosen,
        macro_f1(held_out, known),
    )
