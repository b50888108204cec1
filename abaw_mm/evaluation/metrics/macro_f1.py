"""The challenge's metric: the mean of eight F1 over all frames of all videos."""

import logging
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from abaw_mm.datasets.annotations import (
    EXPRESSIONS,
    UNLABELLED,
)
from abaw_mm.evaluation.metrics.frame_metric import (
    FrameMetric,
    FrameResults,
)

ABSENT = ('zero', 'skip')


def f1_per_class(
    pred: np.ndarray, target: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each class, 2TP / (2TP + FP + FN) (Eq. 4), and its number of frames.

    The form with counts equals 2PR / (P + R) and needs no rule for an empty precision or recall:
    only a class that is neither labelled nor predicted is 0/0, and counts 0.

    Args:
        pred (ndarray): (F, ) predicted classes.
        target (ndarray): (F, ) labels.
        num_classes (int): Number C of classes.

    Returns:
        tuple: F1 (C, ) float64 in 0-1, and support (C, ) int64 in frames.

    >>> f1_per_class(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    (array([0.66666667, 0.66666667, 0.        ]), array([1, 2, 0]))
    """
    hits = np.bincount(target[pred == target], minlength=num_classes)
    support = np.bincount(target, minlength=num_classes)
    return f1_of_counts(hits, np.bincount(pred, minlength=num_classes), support), support


def f1_of_counts(hits: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> np.ndarray:
    """F1 (..., C) in 0-1 of frames that are right, predicted as and labelled with each class."""
    # 2TP + FP + FN: every frame predicted as the class, and every frame labelled with it.
    return 2 * hits / np.maximum(predicted + support, 1)


def mean_f1(f1: np.ndarray, support: np.ndarray, absent: str = 'zero') -> np.ndarray:
    """Macro-F1 (...) of F1 (..., C), see :class:`MacroF1` for ``absent``."""
    return f1.mean(axis=-1, where=True if absent == 'zero' else support > 0)


def score_labels(
    pred: np.ndarray, target: np.ndarray, names: Sequence[str], absent: str = 'zero'
) -> dict:
    """The challenge's figures (Eq. 4 and 5) of predicted classes, in %.

    Args:
        pred (ndarray): (F, ) predicted classes.
        target (ndarray): (F, ) labels.
        names (Sequence[str]): Of the C classes.
        absent (str): What a class without a labelled frame does, see :class:`MacroF1`.

    Returns:
        dict: ``macro_f1``, ``accuracy``, ``f1_<name>`` in %, ``support_<name>`` in frames.

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
    """Macro-F1 of the ABAW expression challenge (Eq. 4 and 5), in %.

    The mean goes over all classes, whether the set holds them or not, as the challenge's does;
    scikit-learn's and mmpretrain's own means drop or misjudge absent classes. Per-class F1,
    support and accuracy come with it: ``affwild2/macro_f1``, ``affwild2/accuracy``,
    ``affwild2/f1_Neutral``, ``affwild2/support_Neutral``, ...

    The figures are the same on any number of processes: each frame counts once. Frames whose
    labels are hidden, as in the challenge's list, give no figures and one warning.

    Args:
        num_classes (int): Defaults to 8.
        absent (str): What a class without a labelled frame does: ``'zero'`` counts it as 0,
            ``'skip'`` leaves it out of the mean. Defaults to ``'zero'``.
        collect_device (str): As in mmengine's ``BaseMetric``. Defaults to ``'cpu'``.
        prefix (str, optional): Defaults to ``'affwild2'``.

    Raises:
        ValueError: For an unknown ``absent``, labels beyond ``num_classes``, or a set of which
            only some frames have labels.
    """

    default_prefix = 'affwild2'
    keeps_scores = False

    def __init__(
        self,
        num_classes: int = len(EXPRESSIONS),
        absent: str = 'zero',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if absent not in ABSENT:
            raise ValueError(
                f"MacroF1: absent={absent!r}, expected 'zero' (an absent class counts 0, as in "
                "the challenge) or 'skip'; set val_evaluator.absent and test_evaluator.absent"
            )
        self.num_classes = num_classes
        self.absent = absent

    def compute_metrics(self, results: FrameResults) -> dict:
        """Macro-F1, accuracy and F1 in %, support in frames."""
        if not len(results):
            raise ValueError(
                'MacroF1: got no frame, expected at least one; check the dataset of the evaluation'
            )
        hidden = np.count_nonzero(results.gt_label == UNLABELLED)
        if hidden == len(results):
            print_log(
                f'MacroF1: the labels of all {hidden} frames are hidden, so there is no score; '
                '`--out predictions.npz` of tools/test.py keeps the predictions.',
                logger='current',
                level=logging.WARNING,
            )
            return {}
        if hidden:
            raise ValueError(
                f'MacroF1: {hidden} of {len(results)} frames have no label, expected all or none; '
                "score annotated sets and the challenge's list apart"
            )
        largest = max(results.gt_label.max(), results.pred_label.max())
        if largest >= self.num_classes:
            raise ValueError(
                f'MacroF1: got class {largest}, expected 0..{self.num_classes - 1}; set '
                'num_classes of the evaluator to that of model.head'
            )
        names = self.class_names(self.num_classes)
        metrics = score_labels(results.pred_label, results.gt_label, names, self.absent)
        absent = [name for name in names if metrics[f'support_{name}'] == 0]
        if absent:
            effect = 'counts 0 in' if self.absent == 'zero' else 'is left out of'
            print_log(
                f'MacroF1: no frame is labelled {", ".join(absent)}; each {effect} the mean '
                f'(absent={self.absent!r}).',
                logger='current',
                level=logging.WARNING,
            )
        print_log(f'{len(results)} frames\n{self._table(metrics, names)}', logger='current')
        return metrics

    def _table(self, metrics: dict, names: Sequence[str]) -> str:
        """F1 per class, for people."""
        rows = [f'{"class":<12}{"F1 (%)":>8}{"frames":>10}']
        rows += [
            f'{name:<12}{metrics[f"f1_{name}"]:>8.2f}{metrics[f"support_{name}"]:>10}'
            for name in names
        ]
        rows.append(f'{"macro-F1":<12}{metrics["macro_f1"]:>8.2f}')
        rows.append(f'{"accuracy":<12}{metrics["accuracy"]:>8.2f}')
        return '\n'.join(rows)
