"""A backbone is filled completely from a checkpoint, or an error is raised."""

import logging

import pytest
import safetensors.torch
import torch
from mmengine.logging import MMLogger
from mmpretrain.registry import MODELS

from abaw_mm.checkpoints import SSLPretrained


@pytest.fixture(scope='module')
def weights():
    torch.manual_seed(3)
    backbone = MODELS.build(dict(type='ResNet', depth=18))
    return {
        key: torch.rand_like(value) if value.is_floating_point() else value + 7
        for key, value in backbone.state_dict().items()
    }


@pytest.fixture
def log(monkeypatch):
    """Collect level and text of the messages of mmengine's loggers."""
    records = []
    monkeypatch.setattr(
        MMLogger, 'callHandlers', lambda self, r: records.append((r.levelno, r.getMessage()))
    )
    MMLogger.get_instance(f'log of {len(MMLogger._instance_dict)}')
    return records


def backbone(checkpoint=None, depth=18, **kwargs):
    init_cfg = checkpoint and dict(type='SSLPretrained', checkpoint=str(checkpoint), **kwargs)
    return MODELS.build(dict(type='ResNet', depth=depth, frozen_stages=3, init_cfg=init_cfg))


def moco(weights):
    return dict(
        state_dict={
            **{f'module.encoder_k.{k}': v + 1 for k, v in weights.items()},
            **{f'module.encoder_q.{k}': v for k, v in weights.items()},
            'module.queue': torch.zeros(3),
        }
    )


@pytest.mark.parametrize(
    'layout',
    [
        lambda w: w,
        lambda w: dict(state_dict={f'backbone.{k}': v for k, v in w.items()}, meta=dict(epoch=50)),
        moco,
        lambda w: dict(model={f'module.{k}': v for k, v in w.items() if 'num_batches' not in k}),
    ],
)
def test_fills_the_whole_backbone(tmp_path, weights, layout):
    torch.save(layout(weights), tmp_path / 'ssl.pth')
    model = backbone(tmp_path / 'ssl.pth')
    model.init_weights()  # mmpretrain's ResNet then sets the last norm of each block to zero
    for key, value in model.state_dict().items():
        if 'num_batches' not in key:
            assert torch.equal(value, weights[key]), key


def test_safetensors_fill_the_backbone(tmp_path, weights):
    safetensors.torch.save_file(moco(weights)['state_dict'], tmp_path / 'ssl.safetensors')
    model = backbone(tmp_path / 'ssl.safetensors')
    model.init_weights()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='VisionTransformer', arch='deit-tiny', img_size=32, patch_size=16),
        dict(type='SwinTransformer', arch='tiny', img_size=32),
        dict(type='ShuffleNetV2'),
        dict(type='MobileNetV3'),
    ],
)
def test_later_initialization_keeps_the_weights(tmp_path, cfg):
    source = MODELS.build(cfg).state_dict()
    generator = torch.Generator().manual_seed(0)
    for name, value in source.items():
        if value.is_floating_point():
            source[name] = torch.rand(value.shape, generator=generator)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in source.items()}), tmp_path / 'a.pth')
    init_cfg = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'a.pth'))
    model = MODELS.build(dict(cfg, init_cfg=init_cfg))
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, source[name]), name


def test_log_has_the_table(tmp_path, weights, log):
    torch.save(moco(weights), tmp_path / 'ssl.pth')
    SSLPretrained(str(tmp_path / 'ssl.pth'))(backbone())
    level, text = log[-1]
    assert level == logging.INFO and text.startswith('SSLPretrained: ')
    rows = [line.split(maxsplit=1) for line in text.splitlines()[1:]]
    assert rows[:4] == [
        ['layout', 'MoCo v1, v2'],
        ['prefix', "'state_dict.module.encoder_q.'"],
        ['matched', '100 of 100'],
        ['missing', '0'],
    ]
    assert ['dropped', 'encoder_k 120, queue 1'] in rows


def test_prefix_chooses_the_encoder(tmp_path, weights):
    torch.save(moco(weights), tmp_path / 'ssl.pth')
    model = backbone(tmp_path / 'ssl.pth', prefix='encoder_k')
    model.init_weights()
    assert torch.equal(model.conv1.weight, weights['conv1.weight'] + 1)
    with pytest.raises(ValueError, match=r'got 0 of the 100[^\n]*\n  layout  .*none of'):
        backbone(tmp_path / 'ssl.pth', prefix='encoder').init_weights()


def test_another_depth_is_refused(tmp_path, weights):
    torch.save(weights, tmp_path / 'r18.pth')
    with pytest.raises(
        ValueError,
        match=(
            r'got \d+ of the 26\d tensors.*holds a ResNet-18, the config builds a ResNet-50; '
            r'use configs/res18_'
        ),
    ) as error:
        backbone(tmp_path / 'r18.pth', depth=50).init_weights()
    assert 'mismatched  ' in str(error.value) and 'matched     ' in str(error.value)


def test_file_without_the_backbone_is_refused(tmp_path):
    torch.save(dict(state_dict={'fc.weight': torch.zeros(2)}), tmp_path / 'fc.pth')
    for allowed in (False, True):
        with pytest.raises(ValueError, match='got 0 of the 100 .* such as .state_dict.fc.weight'):
            backbone(tmp_path / 'fc.pth', allow_partial=allowed).init_weights()


def test_missing_tensor_needs_allow_partial(tmp_path, weights, log):
    part = {k: v for k, v in weights.items() if k != 'layer3.0.conv1.weight'}
    torch.save(part, tmp_path / 'part.pth')
    with pytest.raises(ValueError, match='99 of the 100 .* is layer3.0.conv1.weight: got nothing'):
        SSLPretrained(str(tmp_path / 'part.pth'))(backbone())
    model = backbone(tmp_path / 'part.pth', allow_partial=True)
    before = model.layer3[0].conv1.weight.clone()
    model.init_weights()
    tables = [(level, text) for level, text in log if text.startswith('SSLPretrained')]
    assert tables[-1][0] == logging.WARNING and '99 of 100' in tables[-1][1]
    for name, value in model.state_dict().items():
        expected = before if name == 'layer3.0.conv1.weight' else weights[name]
        assert torch.equal(value, expected), name


def test_initializer_after_it_is_refused(tmp_path, weights):
    torch.save(weights, tmp_path / 'a.pth')
    ours = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'a.pth'))
    other = dict(type='Kaiming', layer='Conv2d')
    model = MODELS.build(dict(type='ResNet', depth=18, init_cfg=[other, ours]))
    model.init_weights()
    assert torch.equal(model.conv1.weight, weights['conv1.weight'])
    with pytest.raises(ValueError, match='put SSLPretrained at the end'):
        MODELS.build(dict(type='ResNet', depth=18, init_cfg=[ours, other])).init_weights()
