"""Refuse a checkpoint that does not fit the model."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS

from abaw_mm.checkpoints.fit import check_fit
from abaw_mm.engine.unwrap_model import unwrap_model


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Compare a checkpoint with the model before mmengine loads it with ``strict=False``.

    A test and a resumed run need every tensor of the model. A training that starts from
    ``load_from`` needs every tensor of the backbone; other tensors that do not fit, such as a head
    with another number of classes, are listed in a warning and keep their initial values. The
    table of matched tensors is logged, as :class:`SSLPretrained` logs it. The names of a released
    classifier (APViT) are translated first.

    Raises:
        InvalidValueError: If a tensor is missing or has another shape.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check names and shapes, after the file is read and before the model is filled."""
        finetuning = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        line, fits = check_fit(
            unwrap_model(runner.model), checkpoint, runner._load_from or '', finetuning
        )
        print_log(line, logger='current', level=logging.INFO if fits else logging.WARNING)
