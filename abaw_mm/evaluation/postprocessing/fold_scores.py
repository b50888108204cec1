"""Score predictions on folds of clips, from statistics that add up over the folds."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from abaw_mm.datasets.folds import find_strata, split_folds
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.macro_f1 import f1_of_counts, mean_f1
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import Target, get_targets

Columns = Mapping[str, np.ndarray]  # predictions of all frames, such as pred_va (F, 2)
Counts = dict[str, np.ndarray]  # for each part of a track its statistics of each fold, (K, ...)
ROUNDING = 1e-12  # variances of affect below this are those of a constant


class Part(Protocol):
    """One kind of annotation: statistics of its annotated frames, and their score in 0 to 1."""

    def count(self, columns: Columns) -> np.ndarray:
        """Return the statistics of each fold, (K, ...)."""

    def score(self, counts: np.ndarray) -> np.ndarray:
        """Return the score of sums of statistics, (..., ) for (..., S, C)."""


class FoldScorer:
    """Score the annotated frames of folds with the score of the track.

    That is macro-F1 and the mean F1 of action units in %, the mean CCC in -1 to 1, and of the
    multi-task track the sum P of the three, both F1 in 0 to 1. The folds are those of
    :func:`split_folds`, which keeps the clips of a raw video together.

    Args:
        frames (Predictions): Predictions with annotations.
        num_folds (int): Number of folds.
        seed (int): Seed of the folds.

    Attributes:
        parts (dict[str, Part]): For each column of the annotations what scores it.
        outputs (tuple[str]): Columns of the predictions that are scored.

    Raises:
        ValueError: If no frame is annotated, or there are fewer raw videos than folds.
    """

    def __init__(self, frames: Predictions, num_folds: int, seed: int) -> None:
        targets = get_targets(frames.task)
        if not any(t.is_annotated(frames[t.ground_truth]).any() for t in targets):
            raise InvalidValueError(
                'got predictions without annotations, expected those of an annotated set; search '
                'on the validation set'
            )
        fold_of = _assign_folds(frames, targets, num_folds, seed)
        kinds = dict(va=AffectPart, label=ExpressionPart, au=UnitPart)
        self.parts: dict[str, Any] = {
            target.column: kinds[target.column](frames, target, fold_of, num_folds)
            for target in targets
        }
        self.outputs = tuple(
            name
            for name in ('pred_va', 'pred_score', 'pred_label', 'pred_au')
            if name in frames.columns
        )
        self.scale = 1 if 'va' in self.parts else 100

    def count(self, columns: Columns) -> Counts:
        """Return the statistics of predictions of all frames."""
        return {name: part.count(columns) for name, part in self.parts.items()}

    def score(self, counts: Counts) -> Any:
        """Return the score of statistics of all folds together."""
        return self._add({name: array.sum(axis=0) for name, array in counts.items()})

    def score_subsets(self, counts: Counts) -> np.ndarray:
        """Score without each fold, then on all folds: (..., K + 1) of (..., K, S, C).

        Parts that are not among the statistics are left out.
        """
        return self._add({name: drop_each_fold(array) for name, array in counts.items()})

    def _add(self, counts: Counts) -> Any:
        scores = [self.parts[name].score(array) for name, array in counts.items()]
        return self.scale * np.sum(scores, axis=0)


def drop_each_fold(counts: np.ndarray) -> np.ndarray:
    """Sum statistics (..., K, S, C) over all folds but one, then over all, (..., K + 1, S, C)."""
    total = counts.sum(axis=-3, keepdims=True)
    return np.concatenate([total - counts, total], axis=-3)


class AffectPart:
    """Moments (K, 6, 2) of valence and arousal: number, sums, sums of squares and of products."""

    def __init__(
        self, frames: Predictions, target: Target, fold_of: np.ndarray, num_folds: int
    ) -> None:
        truth = frames[target.ground_truth]
        self.known = np.flatnonzero(target.is_annotated(truth))
        self.truth = truth[self.known].astype(np.float64)
        self.rows = [np.flatnonzero(fold_of[self.known] == fold) for fold in range(num_folds)]

    def count(self, columns: Columns) -> np.ndarray:
        """Return the moments of each fold, (K, 6, 2)."""
        pred, truth = columns['pred_va'][self.known].astype(np.float64), self.truth
        terms = (np.ones_like(pred), pred, truth, pred**2, truth**2, pred * truth)
        return np.stack([[term[rows].sum(axis=0) for term in terms] for rows in self.rows])

    def score(self, counts: np.ndarray) -> np.ndarray:
        """Return the mean CCC; a constant prediction or annotation counts 0."""
        number, *sums = np.moveaxis(counts, -2, 0)
        x, y, xx, yy, xy = (total / np.maximum(number, 1) for total in sums)
        own, other, covariance = xx - x**2, yy - y**2, xy - x * y
        varies = (own > ROUNDING) & (other > ROUNDING)
        spread = np.where(varies, own + other + (x - y) ** 2, 1.0)
        return (np.where(varies, 2 * covariance, 0.0) / spread).mean(axis=-1)


class ExpressionPart:
    """Counts (K, 3, C) of frames that are correct, predicted, and labelled as each class."""

    def __init__(
        self, frames: Predictions, target: Target, fold_of: np.ndarray, num_folds: int
    ) -> None:
        label = frames[target.ground_truth]
        self.known = np.flatnonzero(target.is_annotated(label))
        self.num_folds, self.size = num_folds, len(frames.classes)
        self.target, self.fold = label[self.known].astype(np.int64), fold_of[self.known]
        self.support = self._count(self.target)

    def _count(self, label: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        at = self.fold[rows] * self.size + label
        shape = self.num_folds, self.size
        return np.bincount(at, minlength=self.num_folds * self.size).reshape(shape)

    def count(self, columns: Columns) -> np.ndarray:
        """Count the predicted classes of each fold, (K, 3, C)."""
        label = columns['pred_label'][self.known]
        hits = label == self.target
        return np.stack([self._count(label[hits], hits), self._count(label), self.support], axis=1)

    def count_biases(self, log_score: np.ndarray, cls: int, biases: np.ndarray) -> np.ndarray:
        """Count the most likely classes for each bias of one class, (B, K, 3, C).

        Args:
            log_score (ndarray): (N, C) of the labelled frames, without a bias of the class.
            cls (int): The class.
            biases (ndarray): (B,) increasing.
        """
        rest = log_score.copy()
        rest[:, cls] = -np.inf
        other = rest.argmax(axis=1)
        lead = rest[np.arange(len(rest)), other] - log_score[:, cls]
        first = np.searchsorted(biases, lead, side='right')  # the class wins from this bias on
        size, folds, steps = self.size, self.num_folds, len(biases)
        at = ((first * folds + self.fold) * size + self.target) * size + other
        table = np.bincount(at, minlength=(steps + 1) * folds * size * size)
        table = table.reshape(steps + 1, folds, size, size)
        wins = table.cumsum(axis=0)[:steps]
        rest_counts = table.sum(axis=0) - wins  # frames that keep the other class
        hits = np.diagonal(rest_counts, axis1=2, axis2=3).copy()
        hits[..., cls] = wins[:, :, cls].sum(axis=2)
        predicted = rest_counts.sum(axis=2)
        predicted[..., cls] = wins.sum(axis=(2, 3))
        support = np.broadcast_to(self.support, hits.shape)
        return np.stack([hits, predicted, support], axis=2)

    def score(self, counts: np.ndarray) -> np.ndarray:
        """Return the macro-F1."""
        hits, predicted, support = np.moveaxis(counts, -2, 0)
        return mean_f1(f1_of_counts(hits, predicted, support), support)


class UnitPart:
    """Counts (K, 3, 12) of frames in which a unit is found and present, found, and present."""

    def __init__(
        self, frames: Predictions, target: Target, fold_of: np.ndarray, num_folds: int
    ) -> None:
        truth = frames[target.ground_truth]
        self.known = np.flatnonzero(target.is_annotated(truth))
        self.present = truth[self.known] == 1
        self.rows = [np.flatnonzero(fold_of[self.known] == fold) for fold in range(num_folds)]

    def count(self, columns: Columns, threshold: float = 0.5) -> np.ndarray:
        """Count the units of at least a probability, (K, 3, 12)."""
        found = columns['pred_au'][self.known] >= np.float32(threshold)
        kinds = (found & self.present, found, self.present)
        return np.stack(
            [[np.count_nonzero(kind[rows], axis=0) for kind in kinds] for rows in self.rows]
        )

    def count_thresholds(self, columns: Columns, thresholds: np.ndarray) -> np.ndarray:
        """Count for each threshold (T,) of all units, (T, K, 3, 12)."""
        return np.stack([self.count(columns, threshold) for threshold in thresholds])

    def score_units(self, counts: np.ndarray) -> np.ndarray:
        """Return the F1 of each unit, (..., 12)."""
        return f1_of_counts(*np.moveaxis(counts, -2, 0))

    def score(self, counts: np.ndarray) -> np.ndarray:
        """Return the mean F1 of the units."""
        return self.score_units(counts).mean(axis=-1)


def _assign_folds(
    frames: Predictions, targets: tuple[Target, ...], num_folds: int, seed: int
) -> np.ndarray:
    """Return the fold of each frame, (F,), -1 for clips without annotations."""
    columns = {target.column: frames[target.ground_truth] for target in targets}
    table = FrameTable(frames.clips, frames.clip_id, frames.frame_no, columns)
    rows = dict(zip(frames.clips, frames.rows_by_clip(), strict=True))
    fold_of = np.full(len(frames), -1)
    for fold, clips in enumerate(split_folds(find_strata(table), num_folds, seed)):
        for clip in clips:
            fold_of[rows[clip]] = fold
    return fold_of
