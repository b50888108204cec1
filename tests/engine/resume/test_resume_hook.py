"""A resumed run equals an unbroken one, and its optimizer fits the current run."""

import itertools
import signal
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from tiny_run import tiny_cfg
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from abaw_mm.engine.resume import ResumeHook
from abaw_mm.errors import InvalidValueError

LAYOUTS = dict(plain=torch.contiguous_format, fast=torch.channels_last)


def make_optimizer(layout):
    """Make a convolution and its optimizer, after one step."""
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


@pytest.mark.parametrize('first', LAYOUTS)
@pytest.mark.parametrize('then', LAYOUTS)
def test_optimizer_resumes_in_another_memory_layout(first, then):
    expected, optimizer = make_optimizer('plain')
    step(expected, optimizer, 2)
    _, before = make_optimizer(first)
    conv, optimizer = make_optimizer(then)
    optimizer.load_state_dict(before.state_dict())
    runner = SimpleNamespace(
        _resume=True, iter=1, max_iters=2, optim_wrapper=OptimWrapper(optimizer)
    )
    ResumeHook().before_train(runner)
    assert optimizer.param_groups[0]['fused'] == (then == 'fast' or None)
    step(conv, optimizer, 2)
    torch.testing.assert_close(conv.weight, expected.weight)


@pytest.mark.parametrize('enabled', [False, True])
def test_state_of_a_disabled_loss_scaler_is_dropped(enabled):
    state = torch.amp.GradScaler('cpu', enabled=enabled).state_dict()
    checkpoint = dict(state_dict={}, optimizer=dict(loss_scaler=state))
    ResumeHook().after_load_checkpoint(
        SimpleNamespace(_resume=True, hooks=[], work_dir=''), checkpoint
    )
    assert ('loss_scaler' in checkpoint['optimizer']) == enabled


@pytest.mark.parametrize(
    ('saved', 'current', 'message'),
    [
        ('SGD', 'AdamW', 'settings dampening, lr, .* expected those of AdamW, .*: amsgrad, betas'),
        ('AdamW', 'SGD', 'settings amsgrad, betas, .* expected those of SGD, .*: dampening, lr'),
        ('AdamW', 'Adamax', 'amsgrad, betas, eps, .* Adamax, .*: betas, eps'),
        ('Adam', 'AdamW', None),
    ],
)
def test_another_optimizer_is_refused(saved, current, message):
    conv = nn.Conv2d(4, 5, 3)
    before = getattr(torch.optim, saved)(conv.parameters(), 0.1)
    optimizer = getattr(torch.optim, current)(conv.parameters(), 0.1)
    runner = SimpleNamespace(
        _resume=True, hooks=[], work_dir='', optim_wrapper=OptimWrapper(optimizer)
    )
    OneCycleLR(before, 0.1, 10, cycle_momentum=False)  # adds entries of its own
    checkpoint = dict(optimizer=before.state_dict())
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        ResumeHook().after_load_checkpoint(runner, checkpoint)
    ResumeHook().after_load_checkpoint(runner, dict(optimizer=optimizer.state_dict()))
    runner._resume = False  # load_from
    ResumeHook().after_load_checkpoint(runner, checkpoint)


def test_weights_without_an_optimizer_are_no_run_to_resume():
    runner = SimpleNamespace(_resume=True, _load_from='best_f1_iter_2.pth')
    with pytest.raises(InvalidValueError, match='--resume: best_f1_iter_2.pth has no state of the'):
        ResumeHook().after_load_checkpoint(runner, dict(state_dict={}))
    runner._resume = False  # load_from
    ResumeHook().after_load_checkpoint(runner, dict(state_dict={}))


@pytest.mark.slow
def test_best_score_of_another_metric_is_not_compared(repo, tiny, tmp_path, logged_warnings):
    accuracy = {'default_hooks.checkpoint.save_best': 'affwild2/accuracy'}
    cfg = tiny_cfg(repo, tiny, tmp_path, **accuracy)
    Runner.from_cfg(cfg).train()
    assert (tmp_path / 'best_affwild2_accuracy_iter_1.pth').is_file()
    state = torch.load(tmp_path / 'iter_1.pth', weights_only=False)
    state['message_hub']['runtime_info']['best_score'] = 1000.0  # above any macro-F1
    torch.save(state, tmp_path / 'iter_1.pth')
    logged_warnings.clear()
    cfg.default_hooks.checkpoint.save_best = 'affwild2/macro_f1'
    cfg.train_cfg.max_iters = 2
    cfg.update(resume=True, load_from=str(tmp_path / 'iter_1.pth'))
    runner = Runner.from_cfg(cfg)
    runner.train()
    best = tmp_path / 'best_affwild2_macro_f1_iter_2.pth'
    assert runner.message_hub.get_info('best_ckpt') == str(best) and best.is_file()
    [line] = [line for line in logged_warnings if 'are dropped' in line]
    assert 'best_ckpt, best_score' in line or 'best_score, best_ckpt' in line
    assert f'no best checkpoint by affwild2/macro_f1 in {tmp_path}' in line
    assert not [line for line in logged_warnings if 'resumed key' in line]


@pytest.mark.slow
def test_complete_run_warns_once(repo, tiny, tmp_path, logged_warnings):
    Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'run')).train()
    logged_warnings.clear()
    path = tmp_path / 'run/iter_1.pth'
    Runner.from_cfg(
        tiny_cfg(repo, tiny, tmp_path / 'run', resume=True, load_from=str(path))
    ).train()
    [line] = [line for line in logged_warnings if 'The run is complete' in line]
    assert f'{path} is at iteration 1 of 1. ' in line
    assert 'raise train_cfg.max_iters' in line and 'tools/test.py' in line
    assert len([line for line in logged_warnings if 'random weights' in line]) == 1


QUICK = [('fast', 1, 0), ('plain', 1, 2)]
WAYS = ('fast', 'plain', 'contrawarping', 'byol', 'simsiam', 'temporal')
TABLE = [
    pytest.param(*row, marks=[] if row in QUICK else pytest.mark.slow)
    for row in itertools.product(WAYS, (1, 2), (0, 1, 2))
]


@pytest.mark.parametrize(('way', 'processes', 'workers'), TABLE)
def test_resumed_run_equals_unbroken_run(kills, tmp_path, way, processes, workers):
    """Weights, optimizer, best checkpoint and all logged losses and scores, bit for bit."""
    data = kills.make_data(tmp_path / 'data')

    def run(name, **options):
        return kills.run_once(way, data, tmp_path / name, processes, workers, **options)

    assert run('whole') == 0
    expected = kills.read_end(tmp_path / 'whole')
    assert len(expected['log']) >= kills.ITERS
    assert run('killed', moment=('between two steps', 7)) == -signal.SIGKILL
    assert not (tmp_path / 'killed/iter_8.pth').is_file()
    assert run('killed') == 0
    assert list(kills.list_differences(expected, kills.read_end(tmp_path / 'killed'))) == []
