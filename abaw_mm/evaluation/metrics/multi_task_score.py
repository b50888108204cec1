"""Score of the multi-task challenge: valence and arousal, expressions and action units."""

import logging
from collections.abc import Sequence

from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from abaw_mm.checks import between, check_arguments, one_of
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.action_unit_f1 import (
    ActionUnitF1,
    apply_thresholds,
    check_thresholds,
    collect_supports,
    log_units,
    score_units,
)
from abaw_mm.evaluation.metrics.ccc import CCC, log_affect, score_affect
from abaw_mm.evaluation.metrics.frame_metric import FrameMetric
from abaw_mm.evaluation.metrics.macro_f1 import ABSENT, MacroF1, score_labels
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import (
    ACTION_UNIT,
    EXPRESSION,
    EXPRESSIONS,
    TASKS,
    VALENCE_AROUSAL,
)


@METRICS.register_module()
class MultiTaskScore(FrameMetric):
    r"""Score P of the ABAW multi-task challenge, in -1 to 3.

    .. math::
        P = \frac{CCC_v + CCC_a}{2} + \text{macro-F1} + \text{mean AU F1}

    with both F1 in 0 to 1. Each part is over the rows that are annotated for it; a row of the
    annotations counts once, whether or not its image is repeated. A part without an annotated row
    adds 0, with a warning. If all are hidden, there are no scores and one warning.

    Reports ``affwild2/p_score``; ``affwild2/ccc``, ``affwild2/ccc_valence``, ... of :class:`CCC`;
    ``affwild2/macro_f1``, ``affwild2/accuracy``, ``affwild2/f1_Neutral``, ... of :class:`MacroF1`;
    ``affwild2/mean_f1``, ``affwild2/f1_AU1``, ... of :class:`ActionUnitF1`, all F1 in %; and dicts
    ``affwild2/support`` of class or unit to number of frames, ``affwild2/prevalence`` and
    ``affwild2/annotated``, the number of rows of each part. The result is the same for any number
    of processes.

    Args:
        threshold (float | Sequence[float]): As in :class:`ActionUnitF1`.
        absent (str): Treatment of classes and units that are annotated in no frame, as in
            :class:`MacroF1` and :class:`ActionUnitF1`. Defaults to ``'zero'``.
        collect_device (str): See mmengine's ``BaseMetric``. Defaults to ``'cpu'``.
        prefix (str, optional): Prefix of the names. Defaults to ``'affwild2'``.

    Raises:
        ValueError: If a threshold or a label is out of range.
    """

    default_prefix = 'affwild2'
    targets = {**CCC.targets, **MacroF1.targets, **ActionUnitF1.targets}
    outputs = tuple(target.prediction for target in TASKS['mtl'])
    unused = ('pred_score',)

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

    @property
    def repeats_frames(self) -> bool:
        """True: multi-task annotations repeat frames and lack parts."""
        return True

    def compute_metrics(self, frames: FrameTable) -> dict:
        """Compute and log the scores of all frames."""
        parts = {
            target.column: frames.take(target.is_annotated(frames[target.ground_truth]))
            for target in TASKS['mtl']
        }
        counts = {name: len(part) for name, part in parts.items()}
        self._warn(counts, len(frames))
        if not any(counts.values()):
            return {}
        scores = self.score(frames)
        self._log(parts, scores)
        units = collect_supports(scores, max(counts[ACTION_UNIT.column], 1))
        names = self.class_names(len(EXPRESSIONS))
        support = {name: scores[f'support_{name}'] for name in names}
        return dict(units, support=support | units['support'], annotated=counts)

    def score(self, frames: FrameTable) -> dict:
        """Compute the scores of each part on its annotated rows, and their sum ``p_score``."""
        affect, expression, units = (
            frames.take(target.is_annotated(frames[target.ground_truth]))
            for target in (VALENCE_AROUSAL, EXPRESSION, ACTION_UNIT)
        )
        names = self.class_names(len(EXPRESSIONS))
        scores = _score_affect(affect)
        scores.update(_score_expressions(expression, names, self.absent))
        pred = apply_thresholds(units['pred_au'], self.threshold)
        scores.update(score_units(pred, units['gt_au'], absent=self.absent))
        total = scores['ccc'] + scores['macro_f1'] / 100 + scores['mean_f1'] / 100
        return dict(p_score=total, **scores)

    def _warn(self, counts: dict[str, int], size: int) -> None:
        """Log a warning if parts, or all of them, have no annotated row."""
        empty = [f'gt_{name}' for name, count in counts.items() if not count]
        if not empty:
            return
        effect = 'each adds 0 to the score.'
        if len(empty) == len(counts):
            effect = (
                'so there is no score. To keep the predictions, use `--out predictions.npz` of '
                'tools/test.py.'
            )
        print_log(
            f'MultiTaskScore: the {", ".join(empty)} of all {size} rows are hidden; {effect}',
            logger='current',
            level=logging.WARNING,
        )

    def _log(self, parts: dict[str, FrameTable], scores: dict) -> None:
        """Log the tables of the parts that are annotated, and the score."""
        name = type(self).__name__
        affect, units = parts[VALENCE_AROUSAL.column], parts[ACTION_UNIT.column]
        if len(affect):
            log_affect(name, affect, scores)
        if len(units):
            log_units(name, scores, len(units), self.absent)
        print_log(
            f'P {scores["p_score"]:.4f} = CCC {scores["ccc"]:.4f} + macro-F1 '
            f'{scores["macro_f1"]:.2f}% + mean AU F1 {scores["mean_f1"]:.2f}%',
            logger='current',
        )


def _score_affect(frames: FrameTable) -> dict:
    if len(frames):
        return score_affect(frames)
    return dict.fromkeys(('ccc', 'ccc_valence', 'ccc_arousal', 'ccc_per_clip'), 0.0)


def _score_expressions(frames: FrameTable, names: Sequence[str], absent: str) -> dict:
    if not len(frames):
        zeros = dict.fromkeys(['macro_f1', 'accuracy', *(f'f1_{name}' for name in names)], 0.0)
        return zeros | dict.fromkeys([f'support_{name}' for name in names], 0)
    largest = max(frames['gt_label'].max(), frames['pred_label'].max())
    if largest >= len(names):
        raise InvalidValueError(
            f'MultiTaskScore: got class {largest}, expected 0..{len(names) - 1}; set '
            'model.head.expr.num_classes'
        )
    return score_labels(frames['pred_label'], frames['gt_label'], names, absent)
