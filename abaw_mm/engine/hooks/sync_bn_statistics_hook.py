"""Average BN statistics over processes, so that scores do not depend on the number of processes."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def list_trained_statistics(model: nn.Module) -> list[torch.Tensor]:
    """List the running means and variances that training updates, without those of frozen stages.

    >>> len(list_trained_statistics(nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval())))
    2
    """
    return [
        buffer
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training
        for buffer in (module.running_mean, module.running_var)
        if buffer is not None
    ]


@HOOKS.register_module()
class SyncBNStatisticsHook(Hook):
    """Average the running statistics of BN over all processes after each step.

    Without SyncBN each process has its own statistics. The checkpoint would hold those of rank 0,
    while a validation on several processes would use all of them, so that its score would not be
    that of the checkpoint. mmengine's ``SyncBuffersHook`` is not enough: it averages before a
    validation or after an epoch, while an iteration-based training saves its checkpoint earlier.
    """

    priority = 'HIGH'  # before a checkpoint is saved

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Average the statistics, all in one call."""
        buffers = list_trained_statistics(runner.model) if get_world_size() > 1 else []
        if buffers:
            flat = torch.cat([buffer.flatten() for buffer in buffers])
            all_reduce(flat, op='mean')
            for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))
