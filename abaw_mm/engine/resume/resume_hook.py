"""Adapt the state of a resumed run to the current run."""

import inspect
import logging
from typing import Any

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from abaw_mm.checkpoints.checks.best_checkpoint import keep_own_best
from abaw_mm.checkpoints.find_latest import find_checkpoint_folder
from abaw_mm.errors import InvalidValueError

# Settings that differ between versions of torch and do not change a step.
IMPLEMENTATION = {
    'capturable',
    'decoupled_weight_decay',
    'differentiable',
    'foreach',
    'fused',
    'maximize',
}
# Schedulers add entries of their own to a group of parameters.
SETTINGS = {
    name
    for optimizer in vars(torch.optim).values()
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)
    for name in inspect.signature(optimizer).parameters
} - {'params', *IMPLEMENTATION}


@HOOKS.register_module()
class ResumeHook(Hook):
    """Adapt the optimizer of a resumed run; warn if no iteration is left.

    The momenta get the memory layout of the current parameters, and the optimizer uses the kernels
    of the current config (:func:`adapt_optimizer`). The state of a disabled loss scaler, as of a
    run in bfloat16, is dropped, so that the run can continue in float16. Best checkpoints of other
    folders and metrics are dropped, since mmengine would delete them or compare scores of two
    metrics (:func:`keep_own_best`).

    Raises:
        InvalidValueError: If the checkpoint has no state of an optimizer, or that of another one.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Drop what a resumed run must not keep; raise if the optimizer is another one."""
        if not runner._resume:
            return
        _check_optimizer(runner, checkpoint.get('optimizer'))
        _drop_other_best(runner, checkpoint)
        if not checkpoint['optimizer'].get('loss_scaler', True):
            del checkpoint['optimizer']['loss_scaler']

    def before_train(self, runner: Runner) -> None:
        """Adapt the optimizer, and warn if the run is already complete."""
        if not runner._resume:
            return
        for optimizer in list_optimizers(runner.optim_wrapper):
            adapt_optimizer(optimizer)
        if runner.iter >= runner.max_iters:
            _warn_of_complete_run(runner)


def _check_optimizer(runner: Runner, state: Any) -> None:
    """Raise InvalidValueError if a checkpoint's optimizer has other settings than the current one.

    Its type is not stored with its state. Adam and AdamW have the same settings and state.
    """
    if not isinstance(state, dict):
        raise InvalidValueError(
            f'--resume: {runner._load_from} has no state of the optimizer, as best_*.pth and '
            'weights of others, expected iter_*.pth or epoch_*.pth of a run; start a new run from '
            'its weights with --cfg-options load_from=CHECKPOINT'
        )
    groups = state.get('param_groups')
    if not groups or not isinstance(runner.optim_wrapper, OptimWrapper):
        return
    optimizer = runner.optim_wrapper.optimizer
    expected = {*optimizer.defaults} - IMPLEMENTATION
    found = {*groups[0]} & (SETTINGS | expected)
    if found != expected:
        raise InvalidValueError(
            f'--resume: got a checkpoint whose optimizer has the settings {_join(found)}, expected '
            f'those of {type(optimizer).__name__}, the optimizer of the config: {_join(expected)}; '
            'set optim_wrapper.optimizer to that of the checkpoint, or start a new run from its '
            'weights with load_from=...'
        )


def _join(names: set[str]) -> str:
    return ', '.join(sorted(names))


def _drop_other_best(runner: Runner, checkpoint: dict) -> None:
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    folder = find_checkpoint_folder(runner.work_dir, None if hook is None else hook.out_dir)
    state = checkpoint.get('message_hub')
    info = state.get('runtime_info') if isinstance(state, dict) else None
    metrics = getattr(hook, 'key_indicators', [])
    if 'auto' in metrics:  # the first metric of the next validation
        metrics = []
    dropped = keep_own_best(info, folder, metrics) if isinstance(info, dict) else []
    if dropped and isinstance(state, dict):
        for name in dropped:  # of which mmengine would warn
            state.get('resumed_keys', {}).pop(name, None)
        kind = ' or '.join(metrics)
        print_log(
            f'--resume: {", ".join(dropped)} of the checkpoint are dropped: they name no best '
            f'checkpoint{" by " + kind if kind else ""} in {folder}, so that the next score is the '
            'best one',
            logger='current',
            level=logging.WARNING,
        )


def _warn_of_complete_run(runner: Runner) -> None:
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    unit, setting = ('epoch', 'max_epochs') if by_epoch else ('iteration', 'max_iters')
    done, end = (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
    print_log(
        f'The run is complete: {runner._load_from or "the latest checkpoint"} is at {unit} {done} '
        f'of {end}. To continue training, raise train_cfg.{setting} (--cfg-options '
        f'train_cfg.{setting}=...); to score the checkpoint, use tools/test.py',
        logger='current',
        level=logging.WARNING,
    )


def list_optimizers(wrapper: OptimWrapper | OptimWrapperDict) -> list[torch.optim.Optimizer]:
    """List the optimizers of a run, usually one."""
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [one.optimizer for one in wrappers]


def adapt_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Adapt the loaded state of an optimizer to its parameters and settings, in place.

    A fused kernel reads parameters and momenta in memory order. If only one of them is
    channels_last, torch uses the wrong momenta on the CPU and raises on a GPU. The choice of the
    kernel (``fused``, ``foreach``) would otherwise be that of the checkpoint.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    kernels = {k: v for k, v in optimizer.defaults.items() if k in ('fused', 'foreach')}
    for group in optimizer.param_groups:
        group.update(kernels)
