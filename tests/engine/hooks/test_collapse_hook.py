"""A pre-training whose features collapse or diverge is stopped on all processes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from torch import nn

from abaw_mm.engine.hooks import CollapseHook
from abaw_mm.engine.hooks.collapse_hook import feature_spread
from abaw_mm.errors import TrainingFailedError


def test_spread_equals_formula_of_simsiam():
    features = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_spread(features).item() == pytest.approx(1, abs=0.02)  # SimSiam's 1 / sqrt(D)
    assert feature_spread(features * torch.rand(4000, 1)).item() == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.ones(8, 64) + 1e-4 * features[:8]) < 1e-3
    array = features[:10].numpy()
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    assert feature_spread(features[:10]).item() == pytest.approx(unit.std(0).mean() * 8, rel=1e-5)
    maps = features[:8, :, None, None].expand(-1, -1, 3, 3)
    torch.testing.assert_close(feature_spread(maps), feature_spread(features[:8]))


class Net(nn.Module):
    """A backbone and a neck, whose outputs are all the same if ``scale`` is 0."""

    def __init__(self, scale):
        super().__init__()
        self.backbone = nn.Identity()
        self.neck = nn.Linear(8, 8)
        nn.init.eye_(self.neck.weight)
        self.neck.weight.data *= scale
        nn.init.ones_(self.neck.bias)


def step(hook, model, at, features):
    runner = SimpleNamespace(model=model, iter=at, message_hub=MessageHub.get_instance('collapse'))
    if at == 0:
        hook.before_train(runner)
    hook.before_train_iter(runner, at)
    model.neck(model.backbone(features))
    model.neck(model.backbone(torch.zeros_like(features)))  # later views do not count
    hook.after_train_iter(runner, at)
    return runner


def test_healthy_run_continues_and_is_logged():
    hook, model = CollapseHook(interval=1, patience=1), Net(1.0)
    for at in range(3):
        runner = step(hook, model, at, torch.randn(16, 8))
    for name in ('backbone', 'neck'):
        assert runner.message_hub.get_scalar(f'train/spread_{name}').current() > 0.3
    hook.after_train(runner)
    assert not model.neck._forward_hooks and not model.backbone._forward_hooks


def test_collapsed_run_stops():
    hook, model = CollapseHook(interval=2, patience=2), Net(1e-4)
    for at in range(3):  # measured at steps 2 and 4
        step(hook, model, at, torch.randn(16, 8))
    match = 'features of all faces have collapsed.*neck.* at step 4, in 2 measurements in a row'
    with pytest.raises(TrainingFailedError, match=match):
        step(hook, model, 3, torch.randn(16, 8))


def test_recovered_run_continues():
    hook, model = CollapseHook(interval=1, patience=2), Net(1.0)
    for at, scale in enumerate([1e-4, 1.0, 1e-4, 1.0]):
        nn.init.eye_(model.neck.weight).data.mul_(scale)
        step(hook, model, at, torch.randn(16, 8))


def test_diverged_run_stops_at_once():
    with pytest.raises(TrainingFailedError, match='not finite.*lower optim_wrapper.optimizer.lr'):
        step(CollapseHook(interval=1), Net(1.0), 0, torch.full((16, 8), torch.nan))


def check_process_stops():
    hook, model = CollapseHook(interval=1, patience=1), Net(1e-4)
    if get_rank():  # half healthy: the mean of both is below the limit
        model = Net(3e-3)
    with pytest.raises(TrainingFailedError, match='have collapsed'):
        step(hook, model, 0, torch.randn(16, 8))


@pytest.mark.slow
def test_all_processes_stop_together(run_distributed):
    run_distributed(check_process_stops)
