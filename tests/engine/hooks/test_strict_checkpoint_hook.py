"""A checkpoint that does not fit the model is refused before the model is filled."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from tiny_run import save_backbone, tiny_cfg


def test_test_refuses_a_checkpoint_of_another_model(repo, tiny, tmp_path):
    other = MODELS.build(Config.fromfile(repo / 'configs/res18_gap_affwild2.py').model)
    torch.save(dict(state_dict=other.state_dict(), meta={}), tmp_path / 'gap.pth')
    cfg = tiny_cfg(repo, tiny, tmp_path, load_from=str(tmp_path / 'gap.pth'))
    with pytest.raises(ValueError, match=r'does not fit the model: \d+ tensors differ: neck.conv1'):
        Runner.from_cfg(cfg).test()


@pytest.mark.parametrize('prefix', ['backbone.', 'module.encoder_q.'])
def test_test_refuses_a_backbone_alone(repo, tiny, tmp_path, prefix):
    save_backbone(tmp_path / 'ssl.pth', prefix=prefix)
    cfg = tiny_cfg(repo, tiny, tmp_path, load_from=str(tmp_path / 'ssl.pth'))
    with pytest.raises(ValueError, match='got a checkpoint of a backbone alone.*checkpoint='):
        Runner.from_cfg(cfg).test()


def test_error_names_both_depths(repo, tiny, tmp_path):
    path = tmp_path / 'r50.pth'
    save_backbone(path, depth=50)
    match = (
        r'the file holds a ResNet-50, the config builds a ResNet-18; use configs/res50_\.\.\., '
        'or weights of a ResNet-18'
    )
    with pytest.raises(ValueError, match=match):
        Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'a', load_from=str(path))).test()
    with pytest.raises(ValueError, match=match):
        Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'b', checkpoint=str(path))).train()


def test_load_from_may_lack_neck_and_head(repo, tiny, tmp_path, logged_warnings):
    save_backbone(tmp_path / 'ssl.pth')
    cfg = tiny_cfg(repo, tiny, tmp_path / 'run', load_from=str(tmp_path / 'ssl.pth'))
    Runner.from_cfg(cfg).train()
    [line] = [line for line in logged_warnings if 'load_from: ' in line]
    assert 'neck.conv1.conv.weight' in line and '  matched     100 of 112\n' in line


def test_load_from_needs_the_backbone(repo, tiny, tmp_path):
    save_backbone(tmp_path / 'ssl.pth', prefix='encoder.')
    cfg = tiny_cfg(repo, tiny, tmp_path / 'run', load_from=str(tmp_path / 'ssl.pth'))
    with pytest.raises(ValueError, match='belong in `checkpoint`, not load_from') as error:
        Runner.from_cfg(cfg).train()
    # a table of what load_from would load, and one of what `checkpoint` would
    assert '  matched     0 of 112\n' in str(error.value)
    assert '  matched     100 of 100\n' in str(error.value)
