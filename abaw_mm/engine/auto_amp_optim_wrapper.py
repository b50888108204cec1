"""Train with the fastest dtype of the device."""

from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS

from abaw_mm.compat.cpu import CPUAmpOptimWrapper, amp_dtype


@OPTIM_WRAPPERS.register_module(name='AutoAmpOptimWrapper')
def auto_amp_optim_wrapper(optimizer: torch.optim.Optimizer, **kwargs: Any) -> OptimWrapper:
    """Build an optimizer wrapper with mixed precision in the dtype of :func:`amp_dtype`.

    The device of the parameters decides: bfloat16 without loss scaling, float16 with dynamic loss
    scaling, or float32. So ``optim_wrapper=dict(type='AutoAmpOptimWrapper')`` runs on every device,
    and a checkpoint resumes on another device.

    Args:
        optimizer: Optimizer of parameters that are already on their device.
        **kwargs: Further arguments of ``OptimWrapper``.

    Returns:
        OptimWrapper: The wrapper of mmengine for this dtype, or ``CPUAmpOptimWrapper`` on the CPU.
    """
    device = optimizer.param_groups[0]['params'][0].device
    dtype = amp_dtype(device)
    if dtype is None:
        return OptimWrapper(optimizer=optimizer, **kwargs)
    if device.type == 'cpu':
        return CPUAmpOptimWrapper(optimizer=optimizer, **kwargs)
    scaling = 'dynamic' if dtype == torch.float16 else dict(enabled=False)
    return AmpOptimWrapper(optimizer=optimizer, dtype=dtype, loss_scale=scaling, **kwargs)
