"""What works in plain mmpretrain works in the fast way, with a small model."""

from importlib import import_module

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tiny_run import tiny_cfg


@HOOKS.register_module(force=True)
class UnfreezeHook(Hook):
    """Unfreeze the last frozen stage before a step."""

    def before_train_iter(self, runner, batch_idx, **kwargs):
        """Unfreeze before the second step."""
        if batch_idx == 1:
            backbone = runner.model.backbone
            backbone.frozen_stages -= 1
            backbone.layer2.requires_grad_(True)
            backbone.train()


@pytest.fixture(params=['res18_srp_affwild2', 'res18_srp_affwild2_plain'])
def small_cfg(request, repo, tiny, tmp_path, monkeypatch):
    """Return a function that makes a config with three stages, two of them frozen."""
    module = import_module('abaw_mm.engine.auto_amp_optim_wrapper')
    monkeypatch.setattr(module, 'amp_dtype', lambda device: torch.bfloat16)

    def make(**options):
        cfg = tiny_cfg(repo, tiny, tmp_path, request.param, **options)
        stages = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,))
        cfg.model.backbone.update(**stages, frozen_stages=2)
        cfg.model.neck.in_channels = 256
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        if 'plain' not in request.param:
            cfg.data_preprocessor.update(crop_size=112, resize_edge=112)
        else:
            cfg.model.head.in_channels = 256 * 6 * 6
        return cfg

    return make


def read_stage(path):
    return torch.load(path, weights_only=False)['state_dict']['backbone.layer2.0.conv1.weight']


@pytest.mark.slow
def test_resume_with_fewer_frozen_stages(small_cfg, tmp_path):
    Runner.from_cfg(small_cfg(max_iters=2, val_interval=9)).train()
    before = read_stage(tmp_path / 'iter_2.pth')
    assert torch.equal(read_stage(tmp_path / 'iter_1.pth'), before)
    options = dict(resume=True, load_from=str(tmp_path / 'iter_2.pth'))
    cfg = small_cfg(max_iters=4, val_interval=9, **options)
    cfg.model.backbone.frozen_stages = 1
    Runner.from_cfg(cfg).train()
    assert not torch.equal(read_stage(tmp_path / 'iter_4.pth'), before)


def test_hook_that_unfreezes_a_stage(small_cfg, tmp_path):
    options = dict(custom_hooks=[dict(type='UnfreezeHook')])
    Runner.from_cfg(small_cfg(max_iters=3, val_interval=9, **options)).train()
    first, second, third = (read_stage(tmp_path / f'iter_{step}.pth') for step in (1, 2, 3))
    assert not torch.equal(first, second) and not torch.equal(second, third)


@pytest.mark.slow
def test_head_that_switches_mixed_precision_off(small_cfg):
    cfg = small_cfg(max_iters=2, val_interval=2)
    cfg.model.head = dict(cfg.model.head, type='ArcFaceClsHead')
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    assert 0 <= runner.message_hub.get_scalar('val/affwild2/macro_f1').current() <= 100
