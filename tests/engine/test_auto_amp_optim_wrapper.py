"""The optimizer wrapper follows the fast type of the device."""

from importlib import import_module

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS

from abaw_mm.compat.cpu import CPUAmpOptimWrapper, amp_dtype


@pytest.mark.parametrize(
    ('dtype', 'wrapper'), [(torch.bfloat16, CPUAmpOptimWrapper), (None, OptimWrapper)]
)
def test_wrapper_follows_the_device(monkeypatch, dtype, wrapper):
    module = import_module('abaw_mm.engine.auto_amp_optim_wrapper')  # the package hides it
    monkeypatch.setattr(module, 'amp_dtype', lambda device: dtype)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    built = OPTIM_WRAPPERS.build(
        dict(type='AutoAmpOptimWrapper', optimizer=optimizer, accumulative_counts=2)
    )
    assert type(built) is wrapper and built._accumulative_counts == 2


@pytest.mark.parametrize('capability, dtype', [((7, 0), torch.float16), ((9, 0), torch.bfloat16)])
def test_dtype_of_a_gpu(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    assert amp_dtype(torch.device('cuda')) == dtype
