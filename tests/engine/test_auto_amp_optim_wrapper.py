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


@pytest.mark.parametrize('nesterov', [False, True])
def test_fused_sgd_steps_parameters_that_are_unfrozen_later(monkeypatch, nesterov):
    """The weights equal those of torch's kernel without fusion."""
    module = import_module('abaw_mm.engine.auto_amp_optim_wrapper')
    monkeypatch.setattr(module, 'amp_dtype', lambda device: None)
    options = dict(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov)

    def train(fused):
        layers = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(3)))
        for number, parameter in enumerate(layers.parameters()):
            torch.nn.init.constant_(parameter, 0.1 * number)
        layers[0].requires_grad_(False)
        optimizer = torch.optim.SGD(layers.parameters(), fused=fused, **options)
        wrapper = module.auto_amp_optim_wrapper(optimizer)
        for step in range(4):
            if step == 2:
                layers[0].requires_grad_(True)
            wrapper.update_params(layers(torch.ones(2, 3)).square().sum())
        return [parameter.detach() for parameter in layers.parameters()]

    before = 0.0
    for fused, plain in zip(train(True), train(False), strict=True):
        torch.testing.assert_close(fused, plain)
        assert not torch.all(fused == before)
        before += 0.1
