"""Tensors that no trained network has are refused wherever a module is filled."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet
from mmpretrain.registry import MODELS

from abaw_mm.checkpoints import check_fit
from abaw_mm.checkpoints.checks.values import check_values

BROKEN = {
    'NaN': ('conv1.weight', lambda x: x.index_fill(0, torch.tensor(3), float('nan')), 'NaN'),
    'infinite': ('bn1.bias', lambda x: x + float('inf'), 'infinite'),
    'beyond float32': ('bn1.bias', lambda x: x.double() + 1e300, 'infinite'),
    'negative variance': ('layer1.0.bn1.running_var', lambda x: -x, 'negative'),
    'zero variance': ('layer1.0.bn1.running_var', lambda x: x * 0, 'all zero'),
    'zero weights': ('layer4.1.conv2.weight', lambda x: x * 0, 'all zero'),
    'integers': ('conv1.weight', lambda x: x.mul(100).char(), 'int8 instead'),
    'complex': ('conv1.weight', lambda x: x.to(torch.complex64), 'complex64 instead'),
    'sparse': ('conv1.weight', lambda x: x.to_sparse(), 'not a plain tensor'),
}


@pytest.fixture(scope='module')
def weights():
    torch.manual_seed(0)
    return ResNet(18).state_dict()


@pytest.fixture(params=BROKEN)
def broken(request, weights, tmp_path):
    """A file with one broken tensor, and the pattern that the error must match."""
    name, change, problem = BROKEN[request.param]
    path = tmp_path / 'bad.pth'
    torch.save({**weights, name: change(weights[name])}, path)
    return path, rf'got 1 tensors that no trained network has: (backbone\.)?{name} \({problem}'


def test_import_and_converter_refuse_broken_values(broken, tmp_path, run_tool):
    path, match = broken
    backbone = ResNet(18, init_cfg=dict(type='SSLPretrained', checkpoint=str(path)))
    with pytest.raises(ValueError, match=match):
        backbone.init_weights()
    status, _, error = run_tool('model_converters/ssl_to_mmpretrain.py', path, tmp_path / 'o.pth')
    assert status == 1 and 'no trained network has' in error
    assert not (tmp_path / 'o.pth').exists()


def test_whole_models_with_broken_values_are_refused(weights, repo):
    model = MODELS.build(Config.fromfile(repo / 'configs/res18_srp_affwild2.py').model)
    whole = model.state_dict()
    for name, change, problem in BROKEN.values():
        name = f'backbone.{name}'
        checkpoint = dict(state_dict={**whole, name: change(whole[name])})
        for finetuning in (True, False):
            with pytest.raises(ValueError, match=rf'a\.pth: got 1 tensors.*{name} \({problem}'):
                check_fit(model, checkpoint, 'a.pth', finetuning)
    check_fit(model, dict(state_dict=whole), 'a.pth')


def test_sound_values_pass(weights):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        check_values({k: v.to(dtype) for k, v in weights.items()}, weights, 'a.pth')
    zero_init = {k: v * 0 for k, v in weights.items() if k.endswith('bn2.weight')}
    check_values(zero_init, weights, 'a.pth')
