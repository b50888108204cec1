"""``checkpoint`` fills the backbone, and a random backbone causes warnings."""

import pytest
import torch
from mmengine.runner import Runner
from tiny_run import save_backbone, tiny_cfg


def select_random(warnings):
    return [line for line in warnings if 'random weights' in line]


@pytest.mark.slow
def test_random_backbone_warns_at_start_end_and_test(repo, tiny, tmp_path, logged_warnings):
    Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'run')).train()
    assert len(select_random(logged_warnings)) == 2
    assert 'its 3 frozen stages stay random' in logged_warnings[0]
    cfg = tiny_cfg(repo, tiny, tmp_path / 'test', load_from=str(tmp_path / 'run/iter_1.pth'))
    Runner.from_cfg(cfg).test()
    assert len(select_random(logged_warnings)) == 3


def test_checkpoint_fills_frozen_stages(repo, tiny, tmp_path, logged_warnings):
    path = tmp_path / 'ssl.pth'
    expected = save_backbone(path)
    runner = Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'run', checkpoint=str(path)))
    runner.train()
    assert not select_random(logged_warnings)
    parts = ('conv1', 'bn1', 'layer1', 'layer2', 'layer3')
    frozen = [k for k in expected if k.split('.')[1] in parts]
    state = runner.model.state_dict()
    assert len(frozen) == 90
    for key in frozen:  # weights and BN statistics, after a step of training
        assert torch.equal(state[key], expected[key]), key
    for name in ('conv1.weight', 'bn1.running_mean'):
        key = f'backbone.layer4.0.{name}'
        assert not torch.equal(state[key], expected[key])


def test_missing_checkpoint_is_an_error(repo, tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint='gone.pth': no such file"):
        Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path, checkpoint='gone.pth')).train()


@pytest.mark.parametrize(
    'prefix',
    [
        'backbone.',
        pytest.param('backbone', marks=pytest.mark.slow),
        pytest.param(None, marks=pytest.mark.slow),
    ],
)
def test_pretrained_of_mmengine_fills_the_whole_backbone(repo, tiny, tmp_path, prefix):
    wanted = save_backbone(tmp_path / 'ssl.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'ssl.pth'), prefix=prefix)
    cfg = tiny_cfg(repo, tiny, tmp_path / 'run')
    cfg.model.backbone.init_cfg = init_cfg
    runner = Runner.from_cfg(cfg)
    runner.train()
    weight = runner.model.backbone.layer1[0].conv1.weight
    assert torch.equal(weight, wanted['backbone.layer1.0.conv1.weight'])


def test_pretrained_of_mmengine_that_matches_nothing_is_refused(repo, tiny, tmp_path):
    save_backbone(tmp_path / 'ssl.pth', prefix='encoder.')
    cfg = tiny_cfg(repo, tiny, tmp_path / 'run')
    options = dict(type='Pretrained', checkpoint=str(tmp_path / 'ssl.pth'))
    cfg.model.backbone.init_cfg = dict(options, prefix='backbone.')
    with pytest.raises(ValueError, match='got 0 of the 100 tensors of the backbone'):
        Runner.from_cfg(cfg).train()
    del cfg.model.backbone['init_cfg']
    cfg.model.init_cfg = options
    with pytest.raises(ValueError, match='set load_from for a whole model'):
        Runner.from_cfg(cfg).train()
