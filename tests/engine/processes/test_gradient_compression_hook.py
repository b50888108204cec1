"""Gradients are summed over two processes in 16 bits."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dist import get_rank
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from abaw_mm.engine.processes import GradientCompressionHook
from abaw_mm.errors import InvalidValueError


def check_process():
    torch.manual_seed(0)
    inputs = torch.randn(2, 5)  # the gradient of each process
    for dtype, name in ((torch.bfloat16, 'bfloat16'), (torch.float16, 'float16')):
        model = DistributedDataParallel(nn.Linear(5, 1, bias=False))
        GradientCompressionHook(name).before_train(SimpleNamespace(model=model))
        model(inputs[get_rank()]).sum().backward()
        halves = [(row.to(dtype) / 2) for row in inputs]
        expected = (halves[0] + halves[1]).float()
        got = model.module.weight.grad[0]
        assert torch.equal(got, expected)
        assert not torch.equal(got, inputs.mean(0))


@pytest.mark.slow
def test_gradients_are_rounded_and_averaged(run_distributed):
    run_distributed(check_process)


def test_single_process_is_an_error():
    runner = SimpleNamespace(model=nn.Linear(1, 1))
    with pytest.raises(InvalidValueError, match='got a Linear.*dist_train.sh'):
        GradientCompressionHook().before_train(runner)
    with pytest.raises(InvalidValueError, match="dtype='int8'"):
        GradientCompressionHook('int8')
