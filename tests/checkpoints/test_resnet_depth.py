"""The depth of a ResNet is inferred from the names of its tensors."""

import pytest
from mmpretrain.registry import MODELS

from abaw_mm.checkpoints.resnet_depth import explain_depth_mismatch, find_resnet_depth


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_depth_of_a_resnet(depth):
    names = MODELS.build(dict(type='ResNet', depth=depth)).state_dict()
    assert find_resnet_depth(names) == depth
    assert find_resnet_depth([f'state_dict.encoder_q.{name}' for name in names]) == depth
    assert find_resnet_depth([name for name in names if not name.startswith('layer4')]) == depth


@pytest.mark.parametrize(
    'names',
    [
        [],
        ['blocks.0.attn.qkv.weight'],
        ['layer1.0.conv1.weight', 'layer1.1.conv1.weight'],
    ],
)
def test_other_networks_have_no_depth(names):
    assert find_resnet_depth(names) is None


def test_depth_mismatch_is_explained():
    names = {
        depth: list(MODELS.build(dict(type='ResNet', depth=depth)).state_dict())
        for depth in (18, 34, 50)
    }
    assert explain_depth_mismatch(names[18], names[18]) == ''
    assert explain_depth_mismatch(names[18], ['fc.weight']) == ''
    assert explain_depth_mismatch(names[18], names[50]) == (
        'the file holds a ResNet-50, the config builds a ResNet-18; use configs/res50_..., or '
        'weights of a ResNet-18'
    )
    assert 'use model.backbone.depth=34, or' in explain_depth_mismatch(names[50], names[34])
