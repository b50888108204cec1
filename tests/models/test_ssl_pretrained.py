"""A backbone gets all of its weights from a checkpoint, under whatever prefix, or an error."""

import pytest
import torch
from mmpretrain.registry import MODELS

from abaw_mm.models import SSLPretrained
from abaw_mm.models.backbones.ssl_pretrained import find_state_dict, match_prefix


@pytest.fixture(scope='module')
def weights():
    torch.manual_seed(3)
    backbone = MODELS.build(dict(type='ResNet', depth=18))
    return {key: torch.randn_like(value) if value.is_floating_point() else value
            for key, value in backbone.state_dict().items()}


def backbone(checkpoint=None, depth=18):
    init_cfg = checkpoint and dict(type='SSLPretrained', checkpoint=str(checkpoint))
    return MODELS.build(dict(type='ResNet', depth=depth, frozen_stages=3, init_cfg=init_cfg))


@pytest.mark.parametrize('layout', [
    lambda w: w,
    lambda w: dict(state_dict={f'backbone.{k}': v for k, v in w.items()}, meta=dict(epoch=50)),
    lambda w: dict(state_dict={f'module.encoder_q.{k}': v for k, v in w.items()}),
    lambda w: dict(model={f'module.{k}': v for k, v in w.items() if 'num_batches' not in k}),
    lambda w: dict(state_dict={
        **{f'target_net.0.{k}': torch.zeros_like(v) for k, v in w.items()},
        **{f'online_net.0.{k}': v for k, v in w.items()}, 'predictor.weight': torch.zeros(3)}),
])
def test_fills_the_whole_backbone(tmp_path, weights, layout):
    torch.save(layout(weights), tmp_path / 'ssl.pth')
    model = backbone(tmp_path / 'ssl.pth')
    model.init_weights()  # mmpretrain's ResNet would zero the last norm of every block afterwards
    for key, value in model.state_dict().items():
        if 'num_batches' not in key:
            assert torch.equal(value, weights[key]), key


def test_refuses_another_network(tmp_path, weights):
    torch.save(weights, tmp_path / 'r18.pth')
    with pytest.raises(ValueError, match=r'holds \d+ of the 26\d tensors of ResNet'):
        backbone(tmp_path / 'r18.pth', depth=50).init_weights()


def test_refuses_a_file_without_the_backbone(tmp_path):
    torch.save(dict(state_dict={'fc.weight': torch.zeros(2)}), tmp_path / 'fc.pth')
    with pytest.raises(ValueError, match=r'holds 0 of the 100 tensors .* Its keys are such as fc'):
        backbone(tmp_path / 'fc.pth').init_weights()


def test_refuses_one_missing_tensor(tmp_path, weights):
    less = {k: v for k, v in weights.items() if k != 'layer3.0.conv1.weight'}
    torch.save(less, tmp_path / 'less.pth')
    with pytest.raises(ValueError, match='99 of the 100 .* is layer3.0.conv1.weight: got nothing'):
        SSLPretrained(str(tmp_path / 'less.pth'))(backbone())


def test_match_prefix_and_nests():
    wanted = {'a.w': torch.zeros(2), 'b.w': torch.zeros(3)}
    found = {'x.a.w': torch.zeros(2), 'x.b.w': torch.zeros(4), 'a.w': torch.zeros(2)}
    assert match_prefix(wanted, found) == ('', ['b.w'])
    nested = dict(state_dict=dict(model={'a.w': torch.zeros(2), 'step': 3}))
    assert list(find_state_dict(nested)) == ['a.w']
