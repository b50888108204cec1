"""One set of BN statistics for all processes, so that a score does not depend on their number."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def learned_statistics(model: nn.Module) -> list[torch.Tensor]:
    """Running means and variances that training moves: not those of frozen stages."""
    return [
        buffer
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
        for buffer in (module.running_mean, module.running_var)
    ]


@HOOKS.register_module()
class SyncBNStatisticsHook(Hook):
    """Average the running statistics of BN over all processes after each step.

    Without SyncBN each process gathers its own, the checkpoint holds those of the first, and a
    validation on several processes mixes them: its score would not be that of the checkpoint. A
    few thousand numbers are averaged in one go.
    """

    priority = 'HIGH'  # before a checkpoint is saved

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Average."""
        buffers = learned_statistics(runner.model) if get_world_size() > 1 else []
        if buffers:
            flat = torch.cat([buffer.flatten() for buffer in buffers])
            all_reduce(flat, op='mean')
            for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))
