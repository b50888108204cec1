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

    Parameters of torch's fused SGD get a momentum of zeros before their first step. torch allocates
    it without setting it, and leaves it so if loss scaling skips the first step. It refuses
    parameters that are unfrozen later, on resume or by a hook, when others have momenta.

    Args:
        optimizer: Optimizer of parameters that are already on their device.
        **kwargs: Further arguments of ``OptimWrapper``.

    Returns:
        OptimWrapper: The wrapper of mmengine for this dtype, or ``CPUAmpOptimWrapper`` on the CPU.
    """
    optimizer.register_step_pre_hook(_add_missing_momenta)
    device = optimizer.param_groups[0]['params'][0].device
    dtype = amp_dtype(device)
    if dtype is None:
        return OptimWrapper(optimizer=optimizer, **kwargs)
    if device.type == 'cpu':
        return CPUAmpOptimWrapper(optimizer=optimizer, **kwargs)
    scaling = 'dynamic' if dtype == torch.float16 else dict(enabled=False)
    return AmpOptimWrapper(optimizer=optimizer, dtype=dtype, loss_scale=scaling, **kwargs)


def _add_missing_momenta(optimizer: torch.optim.Optimizer, *args: Any) -> None:
    """Add momenta of zeros to the parameters of fused groups of SGD that have none.

    The first step of such a parameter equals that of torch's other kernels, unless ``dampening`` is
    set, which then applies to it, too. So a group with ``dampening`` whose parameters are all new
    is left to torch.
    """
    for group in optimizer.param_groups:
        if (
            not isinstance(optimizer, torch.optim.SGD)
            or not group['fused']
            or not group['momentum']
        ):
            continue
        stepped = [parameter for parameter in group['params'] if parameter.grad is not None]
        missing = [p for p in stepped if optimizer.state[p].get('momentum_buffer') is None]
        if len(missing) < len(stepped) or not group['dampening']:
            for parameter in missing:
                optimizer.state[parameter]['momentum_buffer'] = torch.zeros_like(parameter)
