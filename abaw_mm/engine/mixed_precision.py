"""Train in the type that the device multiplies fastest."""

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS

from ..compat import CPUAmpOptimWrapper


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """The type for autocast on a device, None where float32 is best.

    bfloat16 where the device computes in it, as it needs no loss scaling; else float16 on GPUs. A
    CPU without instructions for bfloat16 would only emulate it.

    >>> amp_dtype(torch.device('meta')) is None
    True
    """
    if device.type == 'cuda':
        # Ampere and later: earlier GPUs emulate bfloat16, and is_bf16_supported() counts that.
        fast = torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if fast else torch.float16
    if device.type == 'cpu' and _cpu_has_bfloat16():
        return torch.bfloat16
    return None


def _cpu_has_bfloat16() -> bool:
    names = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')  # not in torch before 2.5
    return any(getattr(torch.cpu, name, bool)() for name in names)


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
