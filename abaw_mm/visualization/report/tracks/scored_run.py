"""Scores of a run with intervals and calibration."""

from dataclasses import dataclass

import numpy as np

from abaw_mm.evaluation.metrics.macro_f1 import mean_f1, score_labels
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.visualization.report.clip_bootstrap import (
    confusion_per_clip,
    interval,
    resample_f1,
)
from abaw_mm.visualization.report.tracks.calibration import Calibration, calibrate


@dataclass(frozen=True)
class ScoredRun:
    """Scores of the labelled frames of a run, in % except for counts and calibration.

    Attributes:
        frames (Predictions): The labelled frames.
        scores (dict): Scores that ``MacroF1`` logs, see :func:`score_labels`.
        confusion (ndarray): (C, C) number of frames by label and prediction.
        precision, recall, f1 (ndarray): (C,), 0 for classes that are never predicted or labelled.
        per_clip (ndarray): (K, C, C) the same of each clip, also of those without frames.
        draws (ndarray): (D,) macro-F1 of the bootstrap draws.
        f1_intervals (ndarray): (C, 2) ends of the 95 % intervals of F1.
        calibration (Calibration): Calibration of the confidence.
        absent (str): Treatment of classes without a labelled frame.
    """

    frames: Predictions
    scores: dict
    confusion: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    per_clip: np.ndarray
    draws: np.ndarray
    f1_intervals: np.ndarray
    calibration: Calibration
    absent: str

    @property
    def macro_f1(self) -> float:
        """Macro-F1 in %."""
        return self.scores['macro_f1']

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval of macro-F1."""
        return interval(self.draws)

    def draw_scores(self, clips: np.ndarray) -> np.ndarray:
        """Return the macro-F1 in % of draws of some clips (K,) bool, see ``Scored``."""
        f1, support = resample_f1(self.per_clip[clips])
        return 100 * mean_f1(f1, support, self.absent)

    @property
    def predicted(self) -> np.ndarray:
        """(C,) number of frames predicted as each class."""
        return self.confusion.sum(axis=0)

    @property
    def is_correct(self) -> np.ndarray:
        """(F,) bool."""
        return self.frames['pred_label'] == self.frames['gt_label']


def score_run(frames: Predictions, absent: str = 'zero') -> ScoredRun:
    """Score labelled frames.

    Args:
        frames (Predictions): Frames that all have a label.
        absent (str): Treatment of classes without a labelled frame, see ``MacroF1``.
    """
    classes = frames.classes
    per_clip = confusion_per_clip(frames, len(classes))
    f1, support = resample_f1(per_clip[per_clip.any(axis=(1, 2))])
    confusion = per_clip.sum(axis=0)
    hits = confusion.diagonal()
    scores = score_labels(frames['pred_label'], frames['gt_label'], classes, absent)
    return ScoredRun(
        frames,
        scores,
        confusion,
        precision=100 * hits / np.maximum(confusion.sum(axis=0), 1),
        recall=100 * hits / np.maximum(confusion.sum(axis=1), 1),
        f1=np.array([scores[f'f1_{name}'] for name in classes]),
        per_clip=per_clip,
        draws=100 * mean_f1(f1, support, absent),
        f1_intervals=100 * np.array([interval(column) for column in f1.T]),
        calibration=calibrate(frames.confidence, frames['pred_label'] == frames['gt_label']),
        absent=absent,
    )
