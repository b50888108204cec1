"""Concordance correlation coefficient, the metric of the valence-arousal challenge."""

import logging

import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from abaw_mm.checks import check_arguments
from abaw_mm.evaluation.metrics.frame_metric import FrameMetric
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import AFFECTS, VALENCE_AROUSAL


def concordance(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Compute the concordance correlation coefficient of each column (Lin 1989).

    2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2), with population moments in float64. A constant
    prediction or target has no covariance: the coefficient is 0, also if both are the same
    constant, where it would be 0/0.

    Args:
        pred (ndarray): (F, K) predictions.
        target (ndarray): (F, K) annotations.

    Returns:
        ndarray: (K,) float64 in -1 to 1.

    >>> concordance(np.array([[0.0], [1.0]]), np.array([[0.0], [0.5]])).tolist()
    [0.6666666666666666]
    """
    x, y = pred.astype(np.float64), target.astype(np.float64)
    shift = x.mean(axis=0) - y.mean(axis=0)
    covariance = np.mean((x - x.mean(axis=0)) * (y - y.mean(axis=0)), axis=0)
    spread = x.var(axis=0) + y.var(axis=0) + shift**2
    varies = (np.ptp(x, axis=0) > 0) & (np.ptp(y, axis=0) > 0)  # rounding may leave a variance
    return np.where(varies, 2 * covariance, 0.0) / np.where(varies, spread, 1.0)


def score_affect(frames: FrameTable) -> dict:
    """Compute the challenge's scores of valence and arousal.

    Args:
        frames (FrameTable): Annotated frames with ``pred_va`` and ``gt_va``, (F, 2).

    Returns:
        dict: ``ccc``, the mean of ``ccc_valence`` and ``ccc_arousal`` over all frames of all clips
        together, and ``ccc_per_clip``, the mean over clips, in -1 to 1. A dimension that is
        constant in a clip is left out of the mean over clips; if nothing is left, it is 0.
    """
    pred, target = frames['pred_va'], frames['gt_va']
    pooled = concordance(pred, target)
    scores = dict(ccc=float(pooled.mean()))
    scores.update({f'ccc_{name}': float(x) for name, x in zip(AFFECTS, pooled, strict=True)})
    own = np.full((len(frames.clips), len(AFFECTS)), np.nan)
    for clip_id, rows in enumerate(frames.rows_by_clip()):
        if len(target[rows]):
            constant = np.ptp(target[rows], axis=0) == 0
            own[clip_id] = np.where(constant, np.nan, concordance(pred[rows], target[rows]))
    means = [column[~np.isnan(column)] for column in own.T]
    per_clip = [column.mean() if len(column) else 0.0 for column in means]
    return dict(scores, ccc_per_clip=float(np.mean(per_clip)))


@METRICS.register_module()
class CCC(FrameMetric):
    """Concordance correlation coefficient of the ABAW valence-arousal challenge, in -1 to 1.

    The challenge's score is the mean of both dimensions, each over all frames of all clips
    together. Reports ``affwild2/ccc``, ``affwild2/ccc_valence``, ``affwild2/ccc_arousal`` and
    ``affwild2/ccc_per_clip``, see :func:`score_affect`. The result is the same for any number of
    processes. A constant prediction or annotation counts 0, with a warning. If all annotations are
    hidden, there are no scores and one warning.

    Args:
        collect_device (str): See mmengine's ``BaseMetric``. Defaults to ``'cpu'``.
        prefix (str, optional): Prefix of the names. Defaults to ``'affwild2'``.

    Raises:
        ValueError: If only some frames are annotated; those of the multi-task track are scored.

    Example:
        >>> frames = FrameTable.from_rows(
        ...     ['a'] * 3, [1, 2, 3], pred_va=np.eye(3)[:, :2], gt_va=np.eye(3)[:, :2])
        >>> round(CCC().score(frames)['ccc'], 6)
        1.0
    """

    default_prefix = 'affwild2'
    targets = {VALENCE_AROUSAL.ground_truth: np.full(2, VALENCE_AROUSAL.hidden, np.float32)}
    outputs = (VALENCE_AROUSAL.prediction,)

    @check_arguments('val_evaluator')
    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def compute_metrics(self, frames: FrameTable) -> dict:
        """Compute and log the scores of all frames."""
        annotated = self.select_annotated(frames, VALENCE_AROUSAL)
        if annotated is None:
            return {}
        scores = self.score(annotated)
        log_affect(type(self).__name__, annotated, scores)
        return scores

    def score(self, frames: FrameTable) -> dict:
        """Compute the scores of annotated frames, see :func:`score_affect`."""
        return score_affect(frames)


def log_affect(owner: str, frames: FrameTable, scores: dict) -> None:
    """Log a table of the scores, and a warning if a dimension is constant."""
    for column, what in ('pred_va', 'prediction'), ('gt_va', 'annotation'):
        constant = np.ptp(frames[column], axis=0) == 0
        names = [name for name, is_constant in zip(AFFECTS, constant, strict=True) if is_constant]
        if names:
            print_log(
                f'{owner}: the {what} of {" and ".join(names)} is the same in all {len(frames)} '
                'frames; its CCC counts 0.',
                logger='current',
                level=logging.WARNING,
            )
    rows = [f'{len(frames)} frames', f'{"dimension":<12}{"CCC":>8}']
    rows += [f'{name:<12}{scores[f"ccc_{name}"]:>8.4f}' for name in AFFECTS]
    rows.append(f'{"mean":<12}{scores["ccc"]:>8.4f}')
    rows.append(f'{"per clip":<12}{scores["ccc_per_clip"]:>8.4f}')
    print_log('\n'.join(rows), logger='current')
