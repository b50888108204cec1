"""Train in the type that the device multiplies fastest."""

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS

from abaw_mm.compat.cpu import CPUAmpOptimWrapper, amp_dtype


@OPTIM_WRAPPERS.register_module(name='AutoAmpOptimWrapper')
def auto_amp_optim_wrapper(optimizer: torch.optim.Optimizer, **kwargs: object) -> OptimWrapper:
    """Automatic mixed precision in the type of :func:`amp_dtype`.

    bfloat16 without loss scaling, float16 with a dynamic one, or no mixed precision, by the device
    of the parameters: ``optim_wrapper=dict(type='AutoAmpOptimWrapper')`` runs everywhere, and a
    checkpoint resumes on another device.

    Args:
        optimizer: Of parameters that are where they train.
        **kwargs: As for ``OptimWrapper``.

    Returns:
        OptimWrapper: mmengine's own for the case.
    """
    device = optimizer.param_groups[0]['params'][0].device
    dtype = amp_dtype(device)
    if dtype is None:
        return OptimWrapper(optimizer=optimizer, **kwargs)
    if device.type == 'cpu':
        return CPUAmpOptimWrapper(optimizer=optimizer, **kwargs)
    scaling = 'dynamic' if dtype == torch.float16 else dict(enabled=False)
    return AmpOptimWrapper(optimizer=optimizer, dtype=dtype, loss_scale=scaling, **kwargs)
