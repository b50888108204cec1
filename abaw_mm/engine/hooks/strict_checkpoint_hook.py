"""Refuse a checkpoint that does not fit the model."""

import logging
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS

from abaw_mm.checkpoints.checks.classes import match_classes
from abaw_mm.checkpoints.fit import check_fit
from abaw_mm.checks import check_arguments
from abaw_mm.engine.unwrap_model import unwrap_model


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Compare a checkpoint with the model before mmengine loads it with ``strict=False``.

    A test and a resumed run need every tensor of the model. A training that starts from
    ``load_from`` needs every tensor of the backbone; other tensors that do not fit, such as a head
    with another number of classes, are listed in a warning and keep their initial values. The
    table of matched tensors is logged, as :class:`SSLPretrained` logs it. The names of a released
    classifier (APViT) are translated first.

    The classes in the checkpoint's ``meta`` are compared with those of the data set. Other classes,
    or the same ones in another order, are an error. A training from ``load_from`` may start from
    other classes: the last layer of the head then keeps its initial values.

    Args:
        reorder_classes (bool): Whether to put the rows of the head into the order of the data set's
            classes. Defaults to False.

    Raises:
        InvalidValueError: If a tensor is missing, has another shape or broken values, or the
            classes differ.
    """

    @check_arguments('default_hooks.strict_checkpoint')
    def __init__(self, reorder_classes: bool = False) -> None:
        self.reorder_classes = reorder_classes

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check names and shapes, after the file is read and before the model is filled."""
        finetuning = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        line, fits = check_fit(
            unwrap_model(runner.model), checkpoint, runner._load_from or '', finetuning
        )
        print_log(line, logger='current', level=logging.INFO if fits else logging.WARNING)
        changed = match_classes(
            checkpoint,
            _get_classes(runner),
            runner._load_from or 'checkpoint',
            self.reorder_classes,
            finetuning,
            runner._resume,
        )
        if changed:
            print_log(changed, logger='current', level=logging.WARNING)


def _get_classes(runner: Runner) -> Sequence[str] | None:
    """Return the classes of the data set that the run trains or tests on."""
    for loop in (runner._train_loop, runner._test_loop, runner._val_loop):
        if isinstance(loop, BaseLoop):
            return (getattr(loop.dataloader.dataset, 'metainfo', None) or {}).get('classes')
    return None
