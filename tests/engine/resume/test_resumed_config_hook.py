"""A resumed run uses its own config and lists what differs from the checkpoint's."""

import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tiny_run import tiny_cfg
from toy_runner import toy_cfg, train_toy

from abaw_mm.engine.resume.resumed_config_hook import flatten_config
from abaw_mm.errors import InvalidValueError

LR = 0.1


@HOOKS.register_module(force=True)
class RecordGroupsHook(Hook):
    """Record learning rate, momentum and weight decay of every step."""

    def before_train_iter(self, runner, *args, **kwargs):
        """Record before the step."""
        self.steps = getattr(self, 'steps', [])
        group = runner.optim_wrapper.param_groups[0]
        self.steps.append(tuple(group[key] for key in ('lr', 'momentum', 'weight_decay')))


def train(work_dir, iters, *, resume=None, schedule=None, momentum=0.9, lr=LR, **options):
    cfg = toy_cfg(work_dir, iters, **options)
    cfg.optim_wrapper.optimizer.update(lr=lr, momentum=momentum)
    cfg.param_scheduler = schedule or [dict(type='CosineAnnealingLR', by_epoch=False)]
    cfg.default_hooks.resumed_config = dict(type='ResumedConfigHook')
    cfg.custom_hooks = [dict(type='RecordGroupsHook')]
    if resume:
        cfg.load_from, cfg.resume = str(work_dir / resume), True
    runner = train_toy(cfg)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, RecordGroupsHook))
    return getattr(hook, 'steps', [])


def cosine(step, end, lr=LR):
    return lr * (1 + math.cos(math.pi * step / end)) / 2


def test_longer_run_gets_a_cosine_to_its_new_end(tmp_path, logged_warnings):
    lrs = [lr for lr, *_ in train(tmp_path, 4)]
    assert lrs == pytest.approx([cosine(step, 4) for step in range(4)])
    lrs = [lr for lr, *_ in train(tmp_path, 10, resume='iter_4.pth')]
    assert lrs == pytest.approx([cosine(step, 10) for step in range(4, 10)])
    (line,) = (line for line in logged_warnings if 'differ from the checkpoint' in line)
    assert 'train_cfg.max_iters: 4 -> 10, used' in line
    assert 'learning rate after step 4: 0.01464 -> 0.06545, used' in line


@pytest.mark.parametrize(
    'schedule',
    [
        [
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
            dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False),
        ],
        [dict(type='MultiStepLR', milestones=[1, 3, 5], by_epoch=False)],
        [
            dict(type='OneCycleLR', eta_max=0.3, total_steps=8, by_epoch=False),
            dict(type='CosineAnnealingMomentum', eta_min=0.5, T_max=8, by_epoch=False),
        ],
    ],
)
def test_other_schedule_continues_as_an_unbroken_run_with_it(tmp_path, schedule):
    """The oracle is a run that had the new schedule, momentum and rate from the start."""
    options = dict(schedule=schedule, lr=0.2, momentum=0.8)
    whole = train(tmp_path / 'whole', 8, **options)
    train(tmp_path / 'run', 4)
    assert train(tmp_path / 'run', 8, resume='iter_4.pth', **options) == whole[4:]


@pytest.mark.slow
def test_plateau_schedule_continues_as_an_unbroken_run(repo, tiny, tmp_path):
    """Its progress in the checkpoint (best score, bad validations) is not another schedule."""
    options = {'default_hooks.checkpoint.max_keep_ckpts': -1}
    cfg = tiny_cfg(repo, tiny, tmp_path, max_iters=3, **options)
    cfg.param_scheduler = [
        dict(type='ReduceOnPlateauLR', monitor='affwild2/macro_f1', rule='greater', patience=0)
    ]
    ends = []
    for resume in None, str(tmp_path / 'iter_1.pth'):
        cfg.update(resume=resume is not None, load_from=resume)
        runner = Runner.from_cfg(cfg)
        runner.train()
        ends.append((runner.param_schedulers[0].state_dict(), runner.optim_wrapper.get_lr()))
    assert ends[1] == ends[0] and ends[0][0]['best'] > 0


def test_unchanged_config_continues_without_a_list(tmp_path, logged_warnings):
    whole = train(tmp_path / 'whole', 4)
    resumed = train(tmp_path / 'whole', 4, resume='iter_2.pth')
    assert resumed == whole[2:]
    assert not [line for line in logged_warnings if 'differ from the checkpoint' in line]


def test_each_setting_that_differs_is_listed(tmp_path, logged_warnings):
    train(tmp_path, 2, randomness=dict(seed=1))
    options = dict(randomness=dict(seed=2), checkpoint='x.pth', log_processor=dict(window_size=5))
    train(tmp_path, 4, resume='iter_2.pth', lr=0.4, helper=3, **options)
    (text,) = (line for line in logged_warnings if 'differ from the checkpoint' in line)
    assert [line.strip() for line in text.splitlines()] == [
        'settings that differ from the checkpoint: 5',
        "checkpoint: unset -> 'x.pth', ignored: the weights are those of the resumed checkpoint",
        'log_processor.window_size: unset -> 5, used',
        'optim_wrapper.optimizer.lr: 0.1 -> 0.4, used',
        'randomness.seed: 1 -> 2, ignored: a resumed run keeps its seed; set '
        'train_dataloader.sampler.seed',
        'train_cfg.max_iters: 2 -> 4, used',
        'learning rate after step 2: 0.05 -> 0.2, used',
    ]


def test_other_number_of_processes_is_listed(tmp_path, logged_warnings):
    train(tmp_path, 2)
    path = tmp_path / 'iter_2.pth'
    checkpoint = torch.load(path, weights_only=False)
    assert checkpoint['meta']['world_size'] == 1
    checkpoint['meta']['world_size'] = 2
    torch.save(checkpoint, path)
    train(tmp_path, 2, resume='iter_2.pth')
    (text,) = (line for line in logged_warnings if 'differ from the checkpoint' in line)
    (line,) = text.splitlines()[1:]
    assert line.startswith('  number of processes: 2 -> 1, used; past steps count as steps of the')


def test_config_in_a_checkpoint_is_not_run(tmp_path):
    """Another value than a literal is compared as text."""
    marker = tmp_path / 'marker'
    text = f"x = open({str(marker)!r}, 'w')\ny = dict(z=__import__('os').getpid())"
    assert flatten_config(text) == {
        'x': f"open({str(marker)!r}, 'w')",
        'y.z': "__import__('os').getpid()",
    }
    assert not marker.exists()


def test_other_groups_of_parameters_are_an_error(tmp_path):
    train(tmp_path, 2)
    cfg = toy_cfg(tmp_path, 4, load_from=str(tmp_path / 'iter_2.pth'), resume=True)
    cfg.default_hooks.resumed_config = dict(type='ResumedConfigHook')
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'neck.fc0': dict(lr_mult=0.1)})
    with pytest.raises(InvalidValueError, match='groups of parameters, expected 1 as in the ch'):
        train_toy(cfg)
