"""Frozen stages do not change in training; Spatial Reserve Pooling fits the backbones."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from abaw_mm.models import APViT, IResNet

SMALL_APVIT = dict(img_size=32, keep_patches=10, keep_rates=(1, 0.5), embed_dims=16, num_heads=2)


def train_one_step(cfg, size):
    """Return a classifier after one step of SGD, and its state before the step."""
    torch.manual_seed(0)
    model = MODELS.build(dict(type='ImageClassifier', **cfg))
    model.init_weights()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    samples = [DataSample().set_gt_label(label) for label in (1, 6)]
    loss = model(torch.randn(2, 3, size, size), samples, mode='loss')['loss']
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    return model, before


def list_parts(backbone):
    """Return the name and module of the input layer, each stage and, in APViT, the transformer."""
    if isinstance(backbone, APViT):
        parts = [(f'extractor.{name}', part) for name, part in list_parts(backbone.extractor)]
        return [*parts, ('vit.', backbone.vit)]
    assert isinstance(backbone, IResNet)
    stages = [(f'body.{number}.', stage) for number, stage in enumerate(backbone.body)]
    return [('input_layer.', backbone.input_layer), *stages]


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    ('backbone', 'neck', 'width'),
    [
        (dict(type='IResNet', depth=50), dict(type='GlobalAveragePooling'), 512),
        (dict(type='APViT', **SMALL_APVIT), None, 16),
    ],
)
def test_frozen_stages_keep_parameters_and_statistics(backbone, neck, width, frozen_stages):
    model, before = train_one_step(
        dict(
            backbone=dict(backbone, frozen_stages=frozen_stages),
            neck=neck,
            head=dict(type='LinearClsHead', num_classes=8, in_channels=width),
        ),
        size=32,
    )
    after = model.state_dict()
    parts = list_parts(model.backbone)
    assert len(parts) == 5
    for number, (name, part) in enumerate(parts):
        frozen = number <= frozen_stages
        assert {p.requires_grad for p in part.parameters()} == {not frozen}
        assert {module.training for module in part.modules()} == {not frozen}
        same = {
            torch.equal(value, before[key])
            for key, value in after.items()
            if key.startswith(f'backbone.{name}')
        }
        assert same == {frozen}, name
    assert not torch.equal(after['head.fc.weight'], before['head.fc.weight'])


@pytest.mark.parametrize(
    ('backbone', 'size'),
    [
        (dict(type='IResNet', depth=50), 112),
        # A small DINOv2: 98 pixels give 7x7 patches, the position embedding is for 70 pixels.
        (
            dict(
                type='VisionTransformer',
                img_size=70,
                patch_size=14,
                layer_scale_init_value=1e-5,
                out_type='featmap',
                arch=dict(embed_dims=512, num_layers=3, num_heads=4, feedforward_channels=64),
            ),
            98,
        ),
    ],
)
def test_spatial_reserve_pooling_trains_on_the_map(backbone, size):
    model, before = train_one_step(
        dict(
            backbone=dict(backbone, frozen_stages=3),
            neck=dict(type='SpatialReservePooling', in_channels=512),
            head=dict(type='LinearClsHead', num_classes=8, in_channels=256 * 3 * 3),
        ),
        size,
    )
    for name in ('neck.conv1.conv.weight', 'neck.conv2.bn.running_mean', 'head.fc.weight'):
        assert not torch.equal(model.state_dict()[name], before[name]), name
