"""Give the loss weights or frequencies of the classes, counted in the training set."""

from dataclasses import replace
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from abaw_mm.checks import between, check_arguments, one_of
from abaw_mm.datasets import EXPRESSIONS, ClipFeatureDataset
from abaw_mm.datasets.samplers.frame_stride import get_frame_table
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import DumpPredictions
from abaw_mm.evaluation.predictions.class_balance import ClassBalance
from abaw_mm.models.losses import LogitAdjustedLoss, effective_number, inverse_frequency
from abaw_mm.models.losses.class_weights import EFFECTIVE_BETA

META_KEY = 'class_balance'  # in the meta of a checkpoint
SCHEMES = ('inverse_frequency', 'effective_number')


@HOOKS.register_module()
class ClassFrequencyHook(Hook):
    """Count the frames of each class in the training set, and set up the loss with the counts.

    - ``class_weight`` of the loss, for ``CrossEntropyLoss``, ``LabelSmoothLoss`` of mmpretrain and
      ``SoftmaxFocalLoss``.
    - The frequencies of ``LogitAdjustedLoss``: those that the sampler draws.

    Counted are the frames that have a label and a crop, or features. The resulting balance is
    stored in every checkpoint and, from there, in the predictions file, so that logit adjustment
    after training does not correct twice.

    Args:
        class_weight (str, optional): ``'inverse_frequency'`` or ``'effective_number'``, see
            :func:`~abaw_mm.models.losses.inverse_frequency` and
            :func:`~abaw_mm.models.losses.effective_number`. Defaults to None, no weights.
        beta (float, optional): Parameter of ``'effective_number'``, above 0 and below 1. Defaults
            to 0.9999.

    Raises:
        InvalidValueError: If the hook would have no effect, or the loss does not have what it sets.
    """

    priority = 'ABOVE_NORMAL'  # before hooks that compute a loss, such as FrameBatchHook

    @check_arguments(
        'default_hooks.class_frequency',
        class_weight=one_of(*SCHEMES),
        beta=between(0, 1, above=True, below=True),
    )
    def __init__(self, class_weight: str | None = None, beta: float | None = None) -> None:
        if beta is not None and class_weight != 'effective_number':
            raise InvalidValueError(
                f'ClassFrequencyHook: got beta={beta} with class_weight={class_weight!r}, expected '
                "'effective_number'; set default_hooks.class_frequency.class_weight, or remove beta"
            )
        self.class_weight = class_weight
        self.beta = EFFECTIVE_BETA if beta is None else beta
        self.balance: ClassBalance | None = None

    def before_train(self, runner: Runner) -> None:
        """Count the frames and set up the loss."""
        head: Any = unwrap_model(runner.model).head
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
    if np.any(label < 0):
        raise InvalidValueError(
            'ClassFrequencyHook: got a training set whose labels are hidden, expected annotations; '
            'set train_dataloader.dataset.ann_file'
        )
    return np.bincount(label, minlength=num_classes)


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


def _log(counts: np.ndarray, name: str, values: list[float]) -> None:
    names = EXPRESSIONS if len(counts) == len(EXPRESSIONS) else map(str, range(len(counts)))
    rows = zip(names, counts.tolist(), values, strict=True)
    text = ', '.join(f'{label} {count} ({value:.4g})' for label, count, value in rows)
    print_log(f'ClassFrequencyHook: training frames by class ({name}): {text}', logger='current')
