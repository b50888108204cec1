"""A checkpoint that does not fit its model is an error, not a warning among a thousand lines."""

import logging
import re

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS

MAX_NAMED = 5


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Compare a checkpoint with the model before mmengine loads it with ``strict=False``.

    For a test and for a resumed run every tensor of the model must be there. For a training that
    starts from ``load_from`` every tensor of the backbone must; others, such as a head with
    another number of classes, are named in a warning and begin anew.

    Raises:
        ValueError: If they are not, with the first names and shapes.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the names and shapes; called between reading the file and filling the model."""
        # mmengine would run this text as a program to look for `gpu_ids`, which none of its own
        # checkpoints has; a checkpoint is data.
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        found = {
            re.sub(r'^module\.', '', key): value
            for key, value in checkpoint.get('state_dict', checkpoint).items()
        }
        wrong = [
            f'{name} (got {tuple(found[name].shape) if name in found else "nothing"}, expected '
            f'{tuple(tensor.shape)})'
            for name, tensor in model.state_dict().items()
            if not name.endswith('num_batches_tracked')
            and (name not in found or found[name].shape != tensor.shape)
        ]
        if not wrong:
            return
        named = ', '.join(wrong[:MAX_NAMED]) + (
            f' and {len(wrong) - MAX_NAMED} more' if len(wrong) > MAX_NAMED else ''
        )
        finetuning = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        if finetuning and not any(name.startswith('backbone.') for name in wrong):
            print_log(
                f'load_from: {len(wrong)} tensors do not fit and begin anew: {named}',
                logger='current', level=logging.WARNING
            )
            return
        raise ValueError(
            f'The checkpoint {runner._load_from or ""} does not fit the model: {len(wrong)} '
            f'tensors differ: {named}. Give the config that the checkpoint was trained with'
            + (
                '; weights of a self-supervised backbone belong into `checkpoint`, not into '
                'load_from' if finetuning else ''
            )
        )
