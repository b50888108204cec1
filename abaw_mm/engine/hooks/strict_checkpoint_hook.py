"""A checkpoint that does not fit its model is an error, not a warning among a thousand lines."""

import logging
import re

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS
from torch import nn

from ...errors import MAX_NAMED
from ...models.backbones.checkpoint_layouts import classifier_names
from ...models.backbones.import_report import ImportReport, compare, flatten, match, tell_depths


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Compare a checkpoint with the model before mmengine loads it with ``strict=False``.

    For a test and for a resumed run every tensor of the model must be there. For a training that
    starts from ``load_from`` every tensor of the backbone must; others, such as a head with
    another number of classes, are named in a warning and begin anew. The table of an import, as
    :class:`SSLPretrained` has it, is logged for each. A classifier of the released code (APViT) is
    given our names first. A resumed run that has no step left says so. The state of an optimizer is
    brought to the layout in memory of this run's parameters, and goes on with this run's kernels.

    Raises:
        ValueError: If they are not, with the first names and shapes.
    """

    def before_train(self, runner: Runner) -> None:
        """Fit a resumed optimizer; say that nothing is left to do, where the run was complete."""
        if runner._resume:
            for optimizer in optimizers(runner.optim_wrapper):
                fit_optimizer(optimizer)
        if not runner._resume or runner.iter < runner.max_iters:
            return
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        unit, setting = ('epoch', 'max_epochs') if by_epoch else ('iteration', 'max_iters')
        done, end = (
            (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
        )
        print_log(
            f'Nothing is left to do: {runner._load_from or "the latest checkpoint"} is at {unit} '
            f'{done} of {end}. To train on, raise train_cfg.{setting} (--cfg-options '
            f'train_cfg.{setting}=...); to score it, give it to tools/test.py',
            logger='current',
            level=logging.WARNING,
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the names and shapes; called between reading the file and filling the model."""
        # mmengine would run this text as a program to look for `gpu_ids`, which none of its own
        # checkpoints has; a checkpoint is data.
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        # bfloat16 needs no loss scaling; of float16, to which the run may go on, a new one starts
        if runner._resume and not checkpoint.get('optimizer', {}).get('loss_scaler', True):
            del checkpoint['optimizer']['loss_scaler']
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        finetuning = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        line, fits = check_fit(model, checkpoint, runner._load_from or '', finetuning)
        print_log(line, logger='current', level=logging.INFO if fits else logging.WARNING)


def optimizers(wrapper: OptimWrapper | OptimWrapperDict) -> list[torch.optim.Optimizer]:
    """The optimizers of a run, mostly one."""
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [one.optimizer for one in wrappers]


def fit_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Fit what an optimizer has loaded to its parameters and its own settings, in place.

    A fused kernel goes through parameters and momenta side by side, as they lie in memory: where
    only one of them is channels_last, torch steps along wrong momenta on the CPU and raises on a
    GPU. The choice of the kernel (``fused``, ``foreach``) would be the checkpoint's.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    for group in optimizer.param_groups:
        group.update(
            {
                name: optimizer.defaults[name]
                for name in ('fused', 'foreach')
                if name in optimizer.defaults
            }
        )


def check_fit(
    model: nn.Module, checkpoint: dict, name: str, finetuning: bool = False
) -> tuple[str, bool]:
    """Compare a checkpoint with the model that it is to fill.

    Args:
        model (nn.Module): Of a config.
        checkpoint (dict): What was read; a classifier of the released code gets our names.
        name (str): Its path, for messages.
        finetuning (bool): Whether a training starts from it, so that the backbone alone must fit.

    Returns:
        tuple: What to log, a table of what was found included; and whether every tensor was.

    Raises:
        ValueError: If it does not fit, with the first names and shapes.
    """
    state_dict = checkpoint.get('state_dict', checkpoint)
    found = {
        re.sub(r'^module\.', '', key): value
        for key, value in state_dict.items()
        if isinstance(value, torch.Tensor)
    }
    ours = classifier_names(model.state_dict(), found)
    if ours:
        found = {ours.get(key, key): value for key, value in found.items()}
        checkpoint['state_dict'] = found  # which mmengine takes before anything beside it
    report = compare(model.state_dict(), found)
    table = f'{name or "checkpoint"} -> {type(model).__name__}\n{report.table()}'
    wrong = [
        f'{name} (got {report.mismatched[name][0] if name in report.mismatched else "nothing"}'
        f', expected {tuple(tensor.shape)})'
        for name, tensor in model.state_dict().items()
        if name in report.mismatched or name in report.missing
    ]
    if not wrong:
        return table, True
    listed = ', '.join(wrong[:MAX_NAMED]) + (
        f' and {len(wrong) - MAX_NAMED} more' if len(wrong) > MAX_NAMED else ''
    )
    in_backbone = [
        name for name in (*report.missing, *report.mismatched) if name.startswith('backbone.')
    ]
    if finetuning and not in_backbone:
        line = f'load_from: {len(wrong)} tensors do not fit and begin anew: {listed}\n{table}'
        return line, False
    depths = tell_depths(model.state_dict(), found)
    if depths:
        advice = f'; {depths}'
    elif not finetuning and _is_backbone_alone(model, report, checkpoint):
        raise ValueError(
            f'The checkpoint {name} holds a backbone alone, without the '
            'neck and head that a test or --resume needs; give the checkpoint of a training '
            '(work_dirs/.../best_*.pth to test). A backbone is what a training starts from: '
            '`--cfg-options checkpoint=...` of tools/train.py'
        )
    else:
        advice = ''
    if finetuning:
        advice += (
            '; weights of a self-supervised backbone belong into `checkpoint`, not into load_from'
        )
        if hasattr(model, 'backbone'):
            own = match(model.backbone.state_dict(), flatten(checkpoint))
            table += f'\nAs `checkpoint`, for the backbone alone, it has\n{own.table()}'
    raise ValueError(
        f'The checkpoint {name} does not fit the model: {len(wrong)} '
        f'tensors differ: {listed}. Give the config that the checkpoint was trained with'
        f'{advice}\n{table}'
    )


def _is_backbone_alone(model: nn.Module, report: ImportReport, checkpoint: dict) -> bool:
    """Whether a checkpoint fills the backbone wholly, by whatever names, and nothing else."""
    if not hasattr(model, 'backbone') or any(
        not name.startswith('backbone.') for name in (*report.sources, *report.mismatched)
    ):
        return False
    own = match(model.backbone.state_dict(), flatten(checkpoint))
    return own.matched == own.required
