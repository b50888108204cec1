"""BN statistics are averaged over processes, except those of frozen layers."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dist import get_rank
from torch import nn

from abaw_mm.engine.hooks import SyncBNStatisticsHook


def check_process():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(3))
    model[1].eval()
    for bn in model:
        bn.running_mean.fill_(get_rank())
        bn.running_var.fill_(3.0 * get_rank() + 1)
    SyncBNStatisticsHook().after_train_iter(SimpleNamespace(model=model), 0)
    assert model[0].running_mean.tolist() == [0.5] * 2
    assert model[0].running_var.tolist() == [2.5] * 2
    assert model[1].running_mean.tolist() == [get_rank()] * 3


@pytest.mark.slow
def test_statistics_are_averaged_over_two_processes(run_distributed):
    run_distributed(check_process)


def test_one_process_is_unchanged():
    model = nn.BatchNorm1d(2)
    model.running_mean.copy_(torch.tensor([1.0, 2.0]))
    SyncBNStatisticsHook().after_train_iter(SimpleNamespace(model=model), 0)
    assert model.running_mean.tolist() == [1, 2]
