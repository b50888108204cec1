"""Macro-F1, the metric of the ABAW expression challenge."""

import logging
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from abaw_mm.checks import between, check_arguments, one_of
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.frame_metric import FrameMetric
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import EXPRESSION, EXPRESSIONS

ABSENT = ('zero', 'skip')


def f1_per_class(
    pred: np.ndarray, target: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the F1 of each class and its support.

    Args:
        pred (ndarray): (F,) predicted classes.
        target (ndarray): (F,) labels.
        num_classes (int): Number C of classes.

    Returns:
        tuple: F1 (C,) float64 in 0-1, and support (C,) int64, the number of labelled frames.

    >>> f1_per_class(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    (array([0.66666667, 0.66666667, 0.        ]), array([1, 2, 0]))
    """
    hits = np.bincount(target[pred == target], minlength=num_classes)
    support = np.bincount(target, minlength=num_classes)
    return f1_of_counts(hits, np.bincount(pred, minlength=num_classes), support), support


def f1_of_counts(hits: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Compute F1 from counts of frames (..., C): correct, predicted and labelled as each class.

    The form with counts equals 2PR / (P + R) and needs no rule for an undefined precision or
    recall. Only a class that is neither labelled nor predicted is 0/0; its F1 is 0.
    """
    # 2TP + FP + FN: all frames predicted as the class plus all frames labelled with it.
    return 2 * hits / np.maximum(predicted + support, 1)


def mean_f1(f1: np.ndarray, support: np.ndarray, absent: str = 'zero') -> np.ndarray:
    """Average F1 (..., C) over classes; see :class:`MacroF1` for ``absent``."""
    return f1.mean(axis=-1, where=True if absent == 'zero' else support > 0)


def score_labels(
    pred: np.ndarray, target: np.ndarray, names: Sequence[str], absent: str = 'zero'
) -> dict:
    """Compute the challenge's scores of predicted classes.

    Args:
        pred (ndarray): (F,) predicted classes.
        target (ndarray): (F,) labels.
        names (Sequence[str]): Names of the C classes.
        absent (str): Treatment of classes without a labelled frame, see :class:`MacroF1`.

    Returns:
        dict: ``macro_f1``, ``accuracy`` and ``f1_<name>`` in %, ``support_<name>`` in frames.

    >>> scores = score_labels(np.array([0, 0, 1]), np.array([0, 1, 1]), ['a', 'b'])
    >>> round(scores['macro_f1'], 2), round(scores['accuracy'], 2), scores['support_b']
    (66.67, 66.67, 2)
    """
    f1, support = f1_per_class(pred, target, len(names))
    scores = dict(
        macro_f1=100 * float(mean_f1(f1, support, absent)),
        accuracy=100 * float(np.mean(pred == target)),
    )
    scores.update({f'f1_{name}': 100 * float(x) for name, x in zip(names, f1, strict=True)})
    scores.update({f'support_{name}': int(x) for name, x in zip(names, support, strict=True)})
    return scores


@METRICS.register_module()
class MacroF1(FrameMetric):
    r"""Macro-F1 of the ABAW expression challenge (Eq. 4 and 5), in %.

    .. math::
        \text{macro-F1} = \frac{1}{C} \sum_{c=1}^{C}
        \frac{2\,TP_c}{2\,TP_c + FP_c + FN_c}

    The counts are over all frames of all videos together. The mean is over all C classes, whether
    or not the dataset contains them, as in the challenge; scikit-learn and mmpretrain average over
    other sets of classes.

    Also reports accuracy, the F1 of each class and the supports: ``affwild2/macro_f1``,
    ``affwild2/accuracy``, ``affwild2/f1_Neutral``, ..., and ``affwild2/support``, a dict of class
    name to number of frames. The result is the same for any number of processes. If all labels are
    hidden, as in the challenge's list of test frames, there are no scores and one warning.

    Args:
        num_classes (int): Number of classes. Defaults to 8.
        absent (str): Treatment of classes without a labelled frame: ``'zero'`` counts them as 0,
            ``'skip'`` leaves them out of the mean. Defaults to ``'zero'``.
        collect_device (str): See mmengine's ``BaseMetric``. Defaults to ``'cpu'``.
        prefix (str, optional): Prefix of the names. Defaults to ``'affwild2'``.

    Raises:
        ValueError: If ``absent`` is unknown, a label is beyond ``num_classes``, or only some frames
            have labels.

    Example:
        >>> from abaw_mm.structures import FrameTable
        >>> frames = FrameTable.from_rows(
        ...     ['video1'] * 3, [1, 2, 3], gt_label=[0, 1, 1], pred_label=[0, 0, 1])
        >>> round(MacroF1(num_classes=2).score(frames)['macro_f1'], 2)
        66.67
    """

    default_prefix = 'affwild2'
    unused = ('pred_score',)

    @check_arguments('val_evaluator', num_classes=between(1, 10_000), absent=one_of(*ABSENT))
    def __init__(
        self,
        num_classes: int = len(EXPRESSIONS),
        absent: str = 'zero',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.num_classes = num_classes
        self.absent = absent

    def compute_metrics(self, frames: FrameTable) -> dict:
        """Compute and log the scores of all frames."""
        labelled = self.select_annotated(frames, EXPRESSION)
        if labelled is None:
            return {}
        self._check_labels(labelled)
        scores = self.score(labelled)
        self._log_scores(scores, len(labelled))
        # One dict, because mmengine draws a curve of each number and the supports never change.
        support = {
            name: scores.pop(f'support_{name}') for name in self.class_names(self.num_classes)
        }
        return dict(scores, support=support)

    def score(self, frames: FrameTable) -> dict:
        """Compute the scores of labelled frames, see :func:`score_labels`."""
        names = self.class_names(self.num_classes)
        return score_labels(frames['pred_label'], frames['gt_label'], names, self.absent)

    def _check_labels(self, frames: FrameTable) -> None:
        largest = max(frames['gt_label'].max(), frames['pred_label'].max())
        if largest >= self.num_classes:
            raise InvalidValueError(
                f'MacroF1: got class {largest}, expected 0..{self.num_classes - 1}; set '
                'num_classes of the evaluator to that of model.head'
            )

    def _log_scores(self, scores: dict, num_frames: int) -> None:
        """Log a table, and a warning if classes are absent."""
        names = self.class_names(self.num_classes)
        absent = [name for name in names if scores[f'support_{name}'] == 0]
        if absent:
            effect = 'counts 0 in' if self.absent == 'zero' else 'is left out of'
            print_log(
                f'MacroF1: no frame is labelled {", ".join(absent)}; each {effect} the mean '
                f'(absent={self.absent!r}).',
                logger='current',
                level=logging.WARNING,
            )
        rows = [f'{num_frames} frames', f'{"class":<12}{"F1 (%)":>8}{"frames":>10}']
        rows += [
            f'{name:<12}{scores[f"f1_{name}"]:>8.2f}{scores[f"support_{name}"]:>10}'
            for name in names
        ]
        rows.append(f'{"macro-F1":<12}{scores["macro_f1"]:>8.2f}')
        rows.append(f'{"accuracy":<12}{scores["accuracy"]:>8.2f}')
        print_log('\n'.join(rows), logger='current')
