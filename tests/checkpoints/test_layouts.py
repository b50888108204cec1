"""Which ResNet the names of tensors are of."""

import pytest
from mmpretrain.registry import MODELS

from abaw_mm.checkpoints.layouts import resnet_depth


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_resnet_depth(depth):
    names = MODELS.build(dict(type='ResNet', depth=depth)).state_dict()
    assert resnet_depth(names) == depth
    assert resnet_depth([f'state_dict.encoder_q.{name}' for name in names]) == depth
    assert resnet_depth([name for name in names if not name.startswith('layer4')]) == depth


@pytest.mark.parametrize(
    'names',
    [
        [],
        ['blocks.0.attn.qkv.weight'],
        ['layer1.0.conv1.weight', 'layer1.1.conv1.weight'],
    ],
)
def test_other_networks_have_none(names):
    assert resnet_depth(names) is None
