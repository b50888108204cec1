"""Scores of valence and arousal with intervals."""

from dataclasses import dataclass

import numpy as np

from abaw_mm.evaluation.metrics.ccc import concordance, score_affect
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import AFFECTS
from abaw_mm.visualization.report.clip_bootstrap import interval, resample

CONSTANT = 1e-12  # variances up to this are rounding errors of sums


@dataclass(frozen=True)
class ScoredAffect:
    """Scores of the annotated frames of a run, valence first.

    Attributes:
        frames (Predictions): The annotated frames.
        scores (dict): Scores that ``CCC`` logs, see :func:`score_affect`.
        correlation (ndarray): (2,) Pearson's coefficient, 0 for constants.
        rmse (ndarray): (2,) root of the mean squared error.
        bias (ndarray): (2,) mean of the predictions minus that of the annotations.
        spread (ndarray): (2,) standard deviation of the predictions divided by that of the
            annotations, NaN if the latter is 0.
        clip_ccc (ndarray): (K, 2) CCC of each clip, NaN where the annotation is constant or there
            is no frame.
        clip_rmse (ndarray): (K, 2) root of the mean squared error, NaN without a frame.
        sums (ndarray): (K, 2, 6) what :func:`sum_clips` returns.
        draws (ndarray): (D, 3) CCC of valence and arousal and their mean, of the bootstrap draws.
        clip_draws (ndarray): (D,) mean CCC over the clips of the bootstrap draws.
    """

    frames: Predictions
    scores: dict
    correlation: np.ndarray
    rmse: np.ndarray
    bias: np.ndarray
    spread: np.ndarray
    clip_ccc: np.ndarray
    clip_rmse: np.ndarray
    sums: np.ndarray
    draws: np.ndarray
    clip_draws: np.ndarray

    @property
    def ccc(self) -> np.ndarray:
        """(2,) CCC of valence and arousal."""
        return np.array([self.scores[f'ccc_{name}'] for name in AFFECTS])

    @property
    def intervals(self) -> np.ndarray:
        """(3, 2) ends of the 95 % intervals of valence, arousal and their mean."""
        return np.array([interval(column) for column in self.draws.T])

    def draw_scores(self, clips: np.ndarray) -> np.ndarray:
        """Return the mean CCC of draws of some clips (K,) bool, see ``Scored``."""
        return ccc_of_sums(resample(self.sums[clips])).mean(axis=1)


def score_affect_run(frames: Predictions) -> ScoredAffect:
    """Score frames that are all annotated."""
    pred, target = (frames[name].astype(np.float64) for name in ('pred_va', 'gt_va'))
    error, deviation = pred - target, target.std(axis=0)
    sums = sum_clips(frames)
    own, rmse = np.full((2, len(frames.clips), len(AFFECTS)), np.nan)
    for clip_id, rows in enumerate(frames.rows_by_clip()):
        if len(target[rows]):
            constant = np.ptp(target[rows], axis=0) == 0
            own[clip_id] = np.where(constant, np.nan, concordance(pred[rows], target[rows]))
            rmse[clip_id] = np.sqrt(np.mean(error[rows] ** 2, axis=0))
    seen = sums[:, 0, 0] > 0
    pooled = ccc_of_sums(resample(sums[seen]))
    return ScoredAffect(
        frames,
        score_affect(frames),
        correlation=np.array([_correlate(x, y) for x, y in zip(pred.T, target.T, strict=True)]),
        rmse=np.sqrt(np.mean(error**2, axis=0)),
        bias=error.mean(axis=0),
        spread=pred.std(axis=0) / np.where(deviation > 0, deviation, np.nan),
        clip_ccc=own,
        clip_rmse=rmse,
        sums=sums,
        draws=np.column_stack([pooled, pooled.mean(axis=1)]),
        clip_draws=_resample_means(own[seen]),
    )


def sum_clips(frames: FrameTable) -> np.ndarray:
    """Sum over the frames of each clip what a CCC is computed from.

    Args:
        frames (FrameTable): Frames with ``pred_va`` and ``gt_va`` (F, 2), all annotated.

    Returns:
        ndarray: (K, 2, 6) float64, of each clip and dimension the number of frames and the sums of
        x, y, x^2, y^2 and xy, with the predictions x and the annotations y.
    """
    x, y = (frames[name].astype(np.float64) for name in ('pred_va', 'gt_va'))
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
    sums = np.zeros((len(frames.clips), *terms.shape[1:]))
    np.add.at(sums, frames.clip_id, terms)
    return sums


def ccc_of_sums(sums: np.ndarray) -> np.ndarray:
    """Compute the CCC from sums (..., 6), see :func:`sum_clips`; 0 for constants.

    >>> sums = sum_clips(FrameTable(['a'], np.zeros(2, int), np.arange(2), dict(
    ...     pred_va=np.array([[0, 0], [1, 1]]), gt_va=np.array([[0, 0.5], [0.5, 0.5]]))))
    >>> ccc_of_sums(sums).round(4).tolist()
    [[0.6667, 0.0]]
    """
    number = np.maximum(sums[..., 0], 1)
    x, y, xx, yy, xy = (sums[..., i] / number for i in range(1, 6))
    variances = np.stack([xx - x * x, yy - y * y])
    spread = variances.sum(axis=0) + (x - y) ** 2
    varies = np.all(variances > CONSTANT, axis=0)
    return np.where(varies, 2 * (xy - x * y), 0.0) / np.where(varies, spread, 1.0)


def _correlate(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else 0.0


def _resample_means(values: np.ndarray) -> np.ndarray:
    """Return the mean over clips of values (K, 2), NaN left out, on draws of the clips, (D,)."""
    known = ~np.isnan(values)
    drawn = resample(np.stack([np.where(known, values, 0), known], axis=-1))
    return (drawn[..., 0] / np.maximum(drawn[..., 1], 1)).mean(axis=1)
