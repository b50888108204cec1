"""Fit the state of a resumed run to this run."""

import logging

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class ResumeHook(Hook):
    """Fit the optimizer of a resumed run to its parameters; warn if no iteration is left.

    The momenta get the memory layout of this run's parameters, and the optimizer uses this run's
    kernels (:func:`fit_optimizer`). The state of a loss scaler that was switched off, as bfloat16
    needs none, is dropped, so that the run may continue in float16.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Drop the state of a loss scaler that was switched off."""
        if runner._resume and not checkpoint.get('optimizer', {}).get('loss_scaler', True):
            del checkpoint['optimizer']['loss_scaler']

    def before_train(self, runner: Runner) -> None:
        """Fit the optimizer, and warn if the run was complete."""
        if not runner._resume:
            return
        for optimizer in optimizers(runner.optim_wrapper):
            fit_optimizer(optimizer)
        if runner.iter >= runner.max_iters:
            _warn_of_complete_run(runner)


def _warn_of_complete_run(runner: Runner) -> None:
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    unit, setting = ('epoch', 'max_epochs') if by_epoch else ('iteration', 'max_iters')
    done, end = (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
    print_log(
        f'Nothing is left to do: {runner._load_from or "the latest checkpoint"} is at {unit} '
        f'{done} of {end}. To train on, raise train_cfg.{setting} (--cfg-options '
        f'train_cfg.{setting}=...); to score it, give it to tools/test.py',
        logger='current',
        level=logging.WARNING,
    )


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
