"""Mean F1 of action units, the metric of the action unit challenge."""

import logging
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from abaw_mm.checks import between, check_arguments, one_of
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.frame_metric import FrameMetric
from abaw_mm.evaluation.metrics.macro_f1 import ABSENT, f1_of_counts, mean_f1
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import ACTION_UNIT, ACTION_UNITS


def apply_thresholds(pred: np.ndarray, threshold: float | Sequence[float] = 0.5) -> np.ndarray:
    """Return which action units are predicted as present, (F, K) bool.

    Args:
        pred (ndarray): (F, K) probabilities.
        threshold (float | Sequence[float]): Lowest probability of 'present', one or K.
    """
    return pred >= np.asarray(threshold, pred.dtype)


def score_units(
    pred: np.ndarray,
    target: np.ndarray,
    names: Sequence[str] = ACTION_UNITS,
    absent: str = 'zero',
) -> dict:
    """Compute the challenge's scores of action units.

    Args:
        pred (ndarray): (F, K) bool, whether each unit is predicted as present.
        target (ndarray): (F, K) annotations, 0 or 1.
        names (Sequence[str]): Names of the K units.
        absent (str): Treatment of units without a frame where they are present, see
            :class:`ActionUnitF1`.

    Returns:
        dict: ``mean_f1``, ``f1_<unit>``, ``balanced_accuracy`` and ``balanced_accuracy_<unit>`` in
        %, ``support_<unit>`` in frames where it is present. The balanced accuracy of a unit is the
        mean recall of the values that occur, as in scikit-learn.

    >>> scores = score_units(np.array([[True], [True]]), np.array([[1], [0]]), ['AU1'])
    >>> round(scores['mean_f1'], 2), scores['balanced_accuracy'], scores['support_AU1']
    (66.67, 50.0, 1)
    """
    present = target == 1
    hits = np.count_nonzero(pred & present, axis=0)
    rejected = np.count_nonzero(~pred & ~present, axis=0)
    support = np.count_nonzero(present, axis=0)
    others = len(target) - support
    f1 = f1_of_counts(hits, np.count_nonzero(pred, axis=0), support)
    recalls = np.stack([hits / np.maximum(support, 1), rejected / np.maximum(others, 1)])
    balanced = recalls.sum(axis=0) / np.maximum((support > 0).astype(int) + (others > 0), 1)
    scores = dict(
        mean_f1=100 * float(average_units(f1, support, absent)),
        balanced_accuracy=100 * float(balanced.mean()),
    )
    for key, values in ('f1', f1), ('balanced_accuracy', balanced):
        scores.update({f'{key}_{n}': 100 * float(x) for n, x in zip(names, values, strict=True)})
    scores.update({f'support_{n}': int(x) for n, x in zip(names, support, strict=True)})
    return scores


def average_units(f1: np.ndarray, support: np.ndarray, absent: str = 'zero') -> float:
    """Average the F1 (K,) of units; 0 if all are left out."""
    return float(mean_f1(f1, support, absent)) if absent == 'zero' or support.any() else 0.0


@METRICS.register_module()
class ActionUnitF1(FrameMetric):
    """Mean F1 of the ABAW action unit challenge, in %.

    The F1 of a unit is that of 'present', over all frames of all clips together; the score is the
    mean over all units. Reports ``affwild2/mean_f1``, ``affwild2/f1_AU1``, ...,
    ``affwild2/balanced_accuracy``, ``affwild2/balanced_accuracy_AU1``, ..., and dicts of unit to
    number: ``affwild2/support``, frames where it is present, and ``affwild2/prevalence``, their
    share in %. The result is the same for any number of processes. If all annotations are hidden,
    there are no scores and one warning.

    Args:
        threshold (float | Sequence[float]): Lowest probability of 'present', one for all units or
            one for each. Defaults to 0.5.
        absent (str): Treatment of units that are present in no frame: ``'zero'`` counts them as 0,
            ``'skip'`` leaves them out of the mean. Defaults to ``'zero'``.
        collect_device (str): See mmengine's ``BaseMetric``. Defaults to ``'cpu'``.
        prefix (str, optional): Prefix of the names. Defaults to ``'affwild2'``.

    Raises:
        ValueError: If a threshold is not in 0 to 1 or their number is not 1 or 12, or only some
            frames are annotated; those of the multi-task track are scored.
    """

    default_prefix = 'affwild2'
    targets = {ACTION_UNIT.ground_truth: np.full(len(ACTION_UNITS), ACTION_UNIT.hidden)}
    outputs = (ACTION_UNIT.prediction,)

    @check_arguments('val_evaluator', threshold=between(0, 1), absent=one_of(*ABSENT))
    def __init__(
        self,
        threshold: float | Sequence[float] = 0.5,
        absent: str = 'zero',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_thresholds(type(self).__name__, threshold)
        self.threshold = threshold
        self.absent = absent

    def compute_metrics(self, frames: FrameTable) -> dict:
        """Compute and log the scores of all frames."""
        annotated = self.select_annotated(frames, ACTION_UNIT)
        if annotated is None:
            return {}
        scores = self.score(annotated)
        log_units(type(self).__name__, scores, len(annotated), self.absent)
        return collect_supports(scores, len(annotated))

    def score(self, frames: FrameTable) -> dict:
        """Compute the scores of annotated frames, see :func:`score_units`."""
        pred = apply_thresholds(frames['pred_au'], self.threshold)
        return score_units(pred, frames['gt_au'], absent=self.absent)


def check_thresholds(owner: str, threshold: float | Sequence[float]) -> None:
    """Raise InvalidValueError unless there is one threshold, or one for each action unit."""
    if isinstance(threshold, Sequence) and len(threshold) != len(ACTION_UNITS):
        raise InvalidValueError(
            f'{owner}: got {len(threshold)} thresholds, expected one number or '
            f'{len(ACTION_UNITS)}; set val_evaluator.threshold'
        )


def collect_supports(scores: dict, num_frames: int) -> dict:
    """Return the scores with one dict of supports and one of prevalences.

    mmengine draws a curve of each number, and the supports never change.
    """
    support = {name: scores[f'support_{name}'] for name in ACTION_UNITS}
    prevalence = {name: 100 * count / num_frames for name, count in support.items()}
    others = {key: x for key, x in scores.items() if not key.startswith('support_')}
    return dict(others, support=support, prevalence=prevalence)


def log_units(owner: str, scores: dict, num_frames: int, absent: str) -> None:
    """Log a table of the scores, and a warning if units are absent."""
    missing = [name for name in ACTION_UNITS if scores[f'support_{name}'] == 0]
    if missing:
        effect = 'counts 0 in' if absent == 'zero' else 'is left out of'
        print_log(
            f'{owner}: no frame is annotated with {", ".join(missing)}; each {effect} the mean '
            f'(absent={absent!r}).',
            logger='current',
            level=logging.WARNING,
        )
    header = f'{"unit":<12}{"F1 (%)":>8}{"bal. acc.":>11}{"frames":>10}'
    rows = [f'{num_frames} frames', header]
    rows += [
        f'{name:<12}{scores[f"f1_{name}"]:>8.2f}{scores[f"balanced_accuracy_{name}"]:>11.2f}'
        f'{scores[f"support_{name}"]:>10}'
        for name in ACTION_UNITS
    ]
    rows.append(f'{"mean":<12}{scores["mean_f1"]:>8.2f}{scores["balanced_accuracy"]:>11.2f}')
    print_log('\n'.join(rows), logger='current')
