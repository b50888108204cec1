"""Scores of action units with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abaw_mm.evaluation.metrics.action_unit_f1 import apply_thresholds, score_units
from abaw_mm.evaluation.metrics.macro_f1 import f1_of_counts, mean_f1
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import find_thresholds
from abaw_mm.structures.tasks import ACTION_UNITS
from abaw_mm.visualization.report.clip_bootstrap import interval, resample


@dataclass(frozen=True)
class ScoredUnits:
    """Scores of the annotated frames of a run, in % except for counts.

    Attributes:
        frames (Predictions): The annotated frames.
        thresholds (tuple[float]): (U,) lowest probability of 'present', of the file's steps.
        present (ndarray): (F, U) bool, annotated units.
        predicted (ndarray): (F, U) bool, predicted units.
        scores (dict): Scores that ``ActionUnitF1`` logs, see :func:`score_units`.
        precision, recall, f1 (ndarray): (U,), 0 for units that are never predicted or annotated.
        counts (ndarray): (K, 3, U) number of frames of each clip: hits, predicted, annotated.
        draws (ndarray): (D,) mean F1 of the bootstrap draws.
        f1_intervals (ndarray): (U, 2) ends of the 95 % intervals of F1.
        absent (str): Treatment of units that are present in no frame.
    """

    frames: Predictions
    thresholds: Sequence[float]
    present: np.ndarray
    predicted: np.ndarray
    scores: dict
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    counts: np.ndarray
    draws: np.ndarray
    f1_intervals: np.ndarray
    absent: str

    @property
    def mean_f1(self) -> float:
        """Mean F1 in %."""
        return self.scores['mean_f1']

    @property
    def is_wrong(self) -> np.ndarray:
        """(F, U) bool."""
        return self.present != self.predicted

    def draw_scores(self, clips: np.ndarray) -> np.ndarray:
        """Return the mean F1 in % of draws of some clips (K,) bool, see ``Scored``."""
        drawn = resample(self.counts[clips])
        f1 = f1_of_counts(drawn[:, 0], drawn[:, 1], drawn[:, 2])
        return 100 * _average(f1, drawn[:, 2], self.absent)


def score_units_run(frames: Predictions, absent: str = 'zero') -> ScoredUnits:
    """Score frames that are all annotated; thresholds are those of the file's steps.

    Args:
        frames (Predictions): The frames.
        absent (str): Treatment of units that are present in no frame, see ``ActionUnitF1``.
    """
    thresholds = find_thresholds(frames.steps)
    present, predicted = frames['gt_au'] == 1, apply_thresholds(frames['pred_au'], thresholds)
    scores = score_units(predicted, frames['gt_au'], absent=absent)
    counts = np.zeros((len(frames.clips), 3, len(ACTION_UNITS)), np.int64)
    np.add.at(counts, frames.clip_id, np.stack([present & predicted, predicted, present], axis=1))
    drawn = resample(counts[np.bincount(frames.clip_id, minlength=len(frames.clips)) > 0])
    f1 = f1_of_counts(drawn[:, 0], drawn[:, 1], drawn[:, 2])
    hits, positive, support = counts.sum(axis=0)
    return ScoredUnits(
        frames,
        thresholds,
        present,
        predicted,
        scores,
        precision=100 * hits / np.maximum(positive, 1),
        recall=100 * hits / np.maximum(support, 1),
        f1=np.array([scores[f'f1_{name}'] for name in ACTION_UNITS]),
        counts=counts,
        draws=100 * _average(f1, drawn[:, 2], absent),
        f1_intervals=100 * np.array([interval(column) for column in f1.T]),
        absent=absent,
    )


def _average(f1: np.ndarray, support: np.ndarray, absent: str) -> np.ndarray:
    """Average the F1 (D, U) of units; 0 in draws without any of them."""
    some = support.any(axis=1)
    means = np.zeros(len(f1))
    means[some] = mean_f1(f1[some], support[some], absent)
    return means
