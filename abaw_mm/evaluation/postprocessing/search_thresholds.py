"""Choose the threshold of each action unit by cross-validation over clips."""

from dataclasses import dataclass

import numpy as np

from abaw_mm.datasets.folds import split_folds
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.macro_f1 import f1_of_counts
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import add_step
from abaw_mm.structures.tasks import ACTION_UNIT, ACTION_UNITS

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))


@dataclass(frozen=True)
class ThresholdSearch:
    """Result of a search: mean F1 in %, over all annotated frames together.

    Attributes:
        before (float): Score at 0.5.
        claimed (float): Score of :attr:`thresholds` on the clips that chose them, partly luck.
        held_out (float): Score when each fold uses the thresholds chosen on the other folds.
        thresholds (tuple[float]): Threshold of each unit, chosen on all clips.
        by_fold (list[tuple[float]]): For each fold, the thresholds chosen on the other folds.
    """

    before: float
    claimed: float
    held_out: float
    thresholds: tuple[float, ...]
    by_fold: list[tuple[float, ...]]

    @property
    def flags(self) -> str:
        """The thresholds as flags of ``postprocess_predictions.py``."""
        return '--threshold ' + ' '.join(f'{x:g}' for x in self.thresholds)


def search_thresholds(
    predictions: Predictions, num_folds: int = 5, seed: int = 0
) -> ThresholdSearch:
    """Choose the threshold of each unit that has the highest F1, and estimate the gain.

    The mean F1 is highest where each F1 is, so the units are independent. Of equal thresholds the
    one nearest to 0.5 is chosen.

    Args:
        predictions (Predictions): Predictions with ``pred_au`` and annotations.
        num_folds (int): Number of folds, which keep the clips of a raw video together.
        seed (int): Seed of the folds. Defaults to 0.

    Raises:
        ValueError: If the predictions have no action units, no annotated frame or a threshold
            already, or there are fewer raw videos than folds.
    """
    predictions.check_task(('au', 'mtl'), '--steps threshold')
    add_step(predictions.steps, 'threshold')
    target = predictions['gt_au']
    known = np.flatnonzero(ACTION_UNIT.is_annotated(target))
    if not len(known):
        raise InvalidValueError(
            'got predictions without annotated action units, expected those of an annotated set; '
            'search on the validation set'
        )
    fold_of = _assign_folds(predictions, known, num_folds, seed)
    order = sorted(range(len(THRESHOLDS)), key=lambda i: abs(THRESHOLDS[i] - 0.5))
    limits = np.array([THRESHOLDS[i] for i in order], np.float32)
    score, present = predictions['pred_au'][known], target[known] == 1
    counts = np.zeros((num_folds, len(limits), 3, len(ACTION_UNITS)), np.int64)
    for fold in range(num_folds):
        rows = fold_of == fold
        for at, limit in enumerate(limits):
            found = score[rows] >= limit
            counts[fold, at] = [
                np.count_nonzero(found & present[rows], axis=0),
                np.count_nonzero(found, axis=0),
                np.count_nonzero(present[rows], axis=0),
            ]
    total = counts.sum(axis=0)
    units = np.arange(len(ACTION_UNITS))
    best = _score_units(total).argmax(axis=0)
    fold_best = [_score_units(total - part).argmax(axis=0) for part in counts]
    held_out = sum(part[own, :, units] for part, own in zip(counts, fold_best, strict=True))

    def name(chosen: np.ndarray) -> tuple[float, ...]:
        return tuple(THRESHOLDS[order[i]] for i in chosen)

    return ThresholdSearch(
        before=_mean(total[0].T),
        claimed=_mean(total[best, :, units]),
        held_out=_mean(np.asarray(held_out)),
        thresholds=name(best),
        by_fold=[name(own) for own in fold_best],
    )


def _score_units(counts: np.ndarray) -> np.ndarray:
    """Return the F1 (T, K) of counts (T, 3, K)."""
    return f1_of_counts(counts[:, 0], counts[:, 1], counts[:, 2])


def _mean(counts: np.ndarray) -> float:
    """Return the mean F1 in % of counts (K, 3)."""
    return 100 * float(f1_of_counts(*counts.T).mean())


def _assign_folds(
    predictions: Predictions, known: np.ndarray, num_folds: int, seed: int
) -> np.ndarray:
    """Return the fold of each annotated frame; stratified by the number of units present."""
    frames = predictions.take(known)
    rows = dict(zip(frames.clips, frames.rows_by_clip(), strict=True))
    present = (frames['gt_au'] == 1).sum(axis=1)
    fold_of = np.full(len(frames), -1)
    folds = split_folds({clip: present[at] for clip, at in rows.items()}, num_folds, seed)
    for fold, clips in enumerate(folds):
        for clip in clips:
            fold_of[rows[clip]] = fold
    return fold_of
