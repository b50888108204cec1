"""Give the loss weights or frequencies of the classes, counted in the training set."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from abaw_mm.checks import above, between, check_arguments, one_of
from abaw_mm.datasets import EXPRESSIONS, ClipFeatureDataset
from abaw_mm.datasets.samplers.frame_stride import get_frame_table
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import DumpPredictions
from abaw_mm.evaluation.predictions.class_balance import ClassBalance
from abaw_mm.models.heads import ActionUnitHead
from abaw_mm.models.losses import LogitAdjustedLoss, effective_number, inverse_frequency
from abaw_mm.models.losses.class_weights import EFFECTIVE_BETA
from abaw_mm.structures.tasks import ACTION_UNIT, ACTION_UNITS

META_KEY = 'class_balance'  # in the meta of a checkpoint
SCHEMES = ('inverse_frequency', 'effective_number')


@HOOKS.register_module()
class ClassFrequencyHook(Hook):
    """Count the frames of each class in the training set, and set up the loss with the counts.

    - ``class_weight`` of the loss, for ``CrossEntropyLoss``, ``LabelSmoothLoss`` of mmpretrain and
      ``SoftmaxFocalLoss``.
    - The frequencies of ``LogitAdjustedLoss``: those that the sampler draws.
    - ``pos_weight`` of the ``CrossEntropyLoss`` of an ``ActionUnitHead``: for each unit, the frames
      without it per frame with it.

    Counted are the frames that have a label and a crop, or features. The resulting balance is
    stored in every checkpoint and, from there, in the predictions file, so that logit adjustment
    after training does not correct twice.

    Args:
        class_weight (str, optional): ``'inverse_frequency'`` or ``'effective_number'``, see
            :func:`~abaw_mm.models.losses.inverse_frequency` and
            :func:`~abaw_mm.models.losses.effective_number`. Defaults to None, no weights.
        beta (float, optional): Parameter of ``'effective_number'``, above 0 and below 1. Defaults
            to 0.9999.
        max_positive_weight (float, optional): Largest ``pos_weight`` of an action unit. Defaults to
            None, no such weights.

    Raises:
        InvalidValueError: If the hook would have no effect, or the loss does not have what it sets.
    """

    priority = 'ABOVE_NORMAL'  # before hooks that compute a loss, such as FrameBatchHook

    @check_arguments(
        'default_hooks.class_frequency',
        class_weight=one_of(*SCHEMES),
        beta=between(0, 1, above=True, below=True),
        max_positive_weight=above(0),
    )
    def __init__(
        self,
        class_weight: str | None = None,
        beta: float | None = None,
        max_positive_weight: float | None = None,
    ) -> None:
        if beta is not None and class_weight != 'effective_number':
            raise InvalidValueError(
                f'ClassFrequencyHook: got beta={beta} with class_weight={class_weight!r}, expected '
                "'effective_number'; set default_hooks.class_frequency.class_weight, or remove beta"
            )
        self.class_weight = class_weight
        self.beta = EFFECTIVE_BETA if beta is None else beta
        self.max_positive_weight = max_positive_weight
        self.balance: ClassBalance | None = None

    def before_train(self, runner: Runner) -> None:
        """Count the frames and set up the loss."""
        head: Any = unwrap_model(runner.model).head
        if self.max_positive_weight is not None:
            units = getattr(head, 'au', head)  # of a MultiTrackHead
            _set_positive_weights(units, runner.train_dataloader.dataset, self.max_positive_weight)
            if self.class_weight is None:
                return
        if not hasattr(head, 'num_classes'):
            raise InvalidValueError(
                f'ClassFrequencyHook: got {type(head).__name__}, which has no classes; set '
                'default_hooks.class_frequency.max_positive_weight for action units, or remove '
                'the hook'
            )
        counts = count_classes(runner.train_dataloader.dataset, head.num_classes)
        self.balance = ClassBalance.of_sampler(runner.cfg)
        if isinstance(head.loss_module, LogitAdjustedLoss):
            self._set_prior(head.loss_module, counts)
        else:
            self._set_weights(head.loss_module, counts)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the balance."""
        checkpoint['meta'][META_KEY] = '' if self.balance is None else self.balance.format()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read the balance of the training."""
        self.balance = ClassBalance.parse(checkpoint.get('meta', {}).get(META_KEY, ''))

    def before_test(self, runner: Runner) -> None:
        """Record the balance of the training in the predictions file."""
        for metric in runner.test_loop.evaluator.metrics:
            if isinstance(metric, DumpPredictions):
                metric.balance = self.balance

    def _set_weights(self, loss: Any, counts: np.ndarray) -> None:
        _check_loss(loss, self.class_weight)
        weights = (
            inverse_frequency(counts)
            if self.class_weight == 'inverse_frequency'
            else effective_number(counts, self.beta)
        ).tolist()
        getattr(loss, 'ce', loss).class_weight = weights
        if self.balance is not None:
            self.balance = replace(self.balance, class_weight=tuple(weights))
        _log(counts, f'{self.class_weight} weights', weights)

    def _set_prior(self, loss: LogitAdjustedLoss, counts: np.ndarray) -> None:
        if self.class_weight is not None:
            raise InvalidValueError(
                f'ClassFrequencyHook: got class_weight={self.class_weight!r} with a '
                'LogitAdjustedLoss, expected None, since the loss adjusts for the frequencies; '
                'remove default_hooks.class_frequency.class_weight'
            )
        absent = [str(c) for c in np.flatnonzero(counts == 0)]
        if absent:
            raise InvalidValueError(
                f'LogitAdjustedLoss: got no training frame of class {", ".join(absent)}, expected '
                'frames of every class; set another model.head.loss, or other clips'
            )
        prior = (self.balance or ClassBalance()).apply(counts / counts.sum())
        if np.ptp(prior) < 1e-9:
            raise InvalidValueError(
                'LogitAdjustedLoss: got classes that the sampler draws equally often, so that it '
                'has no effect; remove class_balance of train_dataloader.sampler, or set another '
                'model.head.loss'
            )
        loss.prior = prior.tolist()
        if self.balance is not None:
            self.balance = replace(self.balance, logit_tau=loss.tau)
        _log(counts, 'frequencies for the logits', loss.prior)


def count_classes(dataset: Any, num_classes: int) -> np.ndarray:
    """Count the frames of each class in the index of a dataset, (C,) int64.

    Args:
        dataset: A ``ClipFeatureDataset``, or what ``FrameStrideSampler`` accepts.
        num_classes (int): Number of classes, C.

    Raises:
        ValueError: If labels are hidden.
    """
    frames = dataset.frames if isinstance(dataset, ClipFeatureDataset) else get_frame_table(dataset)
    label = frames['label']
    if 'au' in frames.columns:
        label = label[label >= 0]  # multi-task annotations lack single parts
    if np.any(label < 0):
        raise InvalidValueError(
            'ClassFrequencyHook: got a training set whose labels are hidden, expected annotations; '
            'set train_dataloader.dataset.ann_file'
        )
    return np.bincount(label, minlength=num_classes)


def _set_positive_weights(head: Any, dataset: Any, limit: float) -> None:
    loss: Any = getattr(head, 'loss_module', None)
    if not isinstance(head, ActionUnitHead) or not hasattr(loss, 'pos_weight'):
        raise InvalidValueError(
            f'ClassFrequencyHook: got max_positive_weight with {type(head).__name__} and '
            f'{type(loss).__name__}, expected an ActionUnitHead with a CrossEntropyLoss; '
            'remove default_hooks.class_frequency.max_positive_weight'
        )
    if loss.pos_weight is not None:
        raise InvalidValueError(
            'ClassFrequencyHook: got max_positive_weight and pos_weight of the loss as well, '
            'expected one of the two; remove one'
        )
    positive, total = count_units(dataset)
    weights = np.minimum((total - positive) / np.maximum(positive, 1), limit).tolist()
    loss.pos_weight = weights
    _log(positive, f'positive weights, of {total} frames', weights, ACTION_UNITS)


def count_units(dataset: Any) -> tuple[np.ndarray, int]:
    """Count the frames of each action unit in the index of a dataset.

    Args:
        dataset: As in :func:`count_classes`.

    Returns:
        tuple: Frames where each unit is present, (12,) int64, and the number of annotated frames.

    Raises:
        ValueError: If no frame is annotated.
    """
    frames = dataset.frames if isinstance(dataset, ClipFeatureDataset) else get_frame_table(dataset)
    units = frames.columns.get('au', np.empty((0, len(ACTION_UNITS)), np.int8))
    units = units[ACTION_UNIT.is_annotated(units)]
    if not len(units):
        raise InvalidValueError(
            'ClassFrequencyHook: got a training set without annotated action units, expected some; '
            'set train_dataloader.dataset.ann_file'
        )
    return np.count_nonzero(units == 1, axis=0), len(units)


def _check_loss(loss: Any, class_weight: str | None) -> None:
    owner = type(loss).__name__
    if class_weight is None:
        raise InvalidValueError(
            f'ClassFrequencyHook: got class_weight=None with {owner}, which has no effect; set '
            f'default_hooks.class_frequency.class_weight to one of {", ".join(SCHEMES)}, or '
            "model.head.loss=dict(type='LogitAdjustedLoss')"
        )
    target = getattr(loss, 'ce', loss)  # of LabelSmoothLoss
    if not hasattr(target, 'class_weight'):
        raise InvalidValueError(
            f'ClassFrequencyHook: got the loss {owner}, which has no class_weight, expected '
            'CrossEntropyLoss, LabelSmoothLoss or SoftmaxFocalLoss; set model.head.loss'
        )
    if target.class_weight is not None:
        raise InvalidValueError(
            'ClassFrequencyHook: got weights of the classes in model.head.loss.class_weight as '
            'well, expected one of the two; remove one'
        )


def _log(
    counts: np.ndarray, name: str, values: list[float], names: Sequence[str] = EXPRESSIONS
) -> None:
    names = names if len(counts) == len(names) else list(map(str, range(len(counts))))
    rows = zip(names, counts.tolist(), values, strict=True)
    text = ', '.join(f'{label} {count} ({value:.4g})' for label, count, value in rows)
    print_log(f'ClassFrequencyHook: training frames by class ({name}): {text}', logger='current')
