"""An optimizer that goes on from a checkpoint of another layout, kernel or device."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from abaw_mm.engine.hooks import StrictCheckpointHook

LAYOUTS = dict(plain=torch.contiguous_format, fast=torch.channels_last)


def optimizer_of(layout):
    """Of a convolution, after a step."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 5, 3).to(memory_format=LAYOUTS[layout])
    optimizer = torch.optim.SGD(conv.parameters(), 0.1, 0.9, fused=layout == 'fast' or None)
    step(conv, optimizer, 1)
    return conv, optimizer


def step(conv, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in conv.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(
            torch.randn(parameter.shape, generator=generator)
        )
    optimizer.step()


@pytest.mark.parametrize(
    'first, then',
    [
        ('plain', 'fast'),
        ('fast', 'plain'),
        ('fast', 'fast'),
        ('plain', 'plain'),
    ],
)
def test_plain_and_fast_runs_go_on_from_each_other(first, then):
    expected, optimizer = optimizer_of('plain')
    step(expected, optimizer, 2)
    _, before = optimizer_of(first)
    conv, optimizer = optimizer_of(then)
    optimizer.load_state_dict(before.state_dict())
    runner = SimpleNamespace(
        _resume=True, iter=1, max_iters=2, optim_wrapper=OptimWrapper(optimizer)
    )
    StrictCheckpointHook().before_train(runner)
    assert optimizer.param_groups[0]['fused'] == (then == 'fast' or None)
    step(conv, optimizer, 2)
    torch.testing.assert_close(conv.weight, expected.weight)


def test_loss_scaling_begins_anew_after_bfloat16():
    model = nn.Linear(2, 2)
    runner = SimpleNamespace(model=model, _train_loop=None, _resume=True, _load_from='a.pth')
    kept = []
    for enabled in (False, True):
        state = torch.amp.GradScaler('cpu', enabled=enabled).state_dict()
        checkpoint = dict(state_dict=model.state_dict(), optimizer=dict(loss_scaler=state))
        StrictCheckpointHook().after_load_checkpoint(runner, checkpoint)
        kept.append('loss_scaler' in checkpoint['optimizer'])
    assert kept == [False, True]
