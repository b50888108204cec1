"""Attention maps against formulas, finite differences and pytorch-grad-cam."""

import pytest
import torch
from mmpretrain.registry import MODELS

from abaw_mm.visualization.attention.attention_maps import (
    activation_attention,
    attention_maps,
    grad_cam,
)

RESNET = dict(
    type='ResNet',
    depth=18,
    base_channels=8,
    stem_channels=8,
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(2,),
)  # 112 pixels -> (32, 7, 7)
VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16),
    img_size=98,
    patch_size=14,
)
APVIT = dict(
    type='APViT', img_size=32, keep_patches=9, keep_rates=(1.0, 0.9), embed_dims=16, num_heads=2
)


def build_classifier(backbone, neck='srp', channels=32, width=None, **options):
    """Build a classifier of eight classes with random weights and statistics, in float64."""
    torch.manual_seed(0)
    neck = dict(
        srp=dict(type='SpatialReservePooling', in_channels=channels, hidden_channels=6),
        gap=dict(type='GlobalAveragePooling'),
        none=None,
    )[neck]
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(backbone, **options),
            neck=neck,
            head=dict(type='LinearClsHead', num_classes=8, in_channels=width or channels),
        )
    )
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
    torch.nn.init.normal_(model.head.fc.weight)
    torch.nn.init.normal_(model.head.fc.bias)
    return model.double().eval()


def make_images(*size):
    return torch.randn(2, 3, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ('size', 'cells'), [((112, 112), (3, 3)), ((80, 80), (2, 2)), ((112, 80), (3, 2))]
)
def test_cells_and_bias_sum_to_the_logit(size, cells):
    model = build_classifier(RESNET, width=6 * cells[0] * cells[1])
    for index in (None, 4):
        maps = attention_maps(model, make_images(*size), index)
        assert maps.cells.shape == (2, *cells) and (maps.cells < 0).any()
        logits = model(make_images(*size)).detach()
        if index is None:
            assert maps.classes.equal(logits.argmax(1))
        else:
            assert maps.classes.tolist() == [index, index]
        logit = maps.cells.sum((1, 2)) + model.head.fc.bias.detach()[maps.classes]
        torch.testing.assert_close(logit, logits[range(2), maps.classes], atol=1e-5, rtol=0)
        torch.testing.assert_close(maps.scores, logits.softmax(1))


def test_logit_without_a_cell_loses_its_contribution():
    """Checks the place in the grid, not only the sum."""
    model = build_classifier(RESNET, width=54)
    maps = attention_maps(model, make_images(112, 112), 2)
    handle = model.neck.conv2.register_forward_hook(
        lambda _, __, out: out * (torch.arange(9).view(3, 3) != 5)
    )
    without = model(make_images(112, 112))[:, 2]
    handle.remove()
    torch.testing.assert_close(
        maps.cells[:, 1, 2], (model(make_images(112, 112))[:, 2] - without).detach()
    )


@pytest.mark.parametrize('frozen', [-1, 3, 4])
def test_grad_cam_equals_finite_differences_with_frozen_stages(frozen):
    """The weight of a channel is the change of the logit when all its positions rise together."""
    model = build_classifier(RESNET, width=54, frozen_stages=min(frozen, 3))
    if frozen == 4:  # everything, including neck and head
        model.requires_grad_(False)
    kept = [parameter.requires_grad for parameter in model.parameters()]
    maps = attention_maps(model, make_images(112, 112), 4)
    with torch.no_grad():
        last = model.backbone(make_images(112, 112))[-1]
        weights = []
        for channel in range(32):
            step = torch.zeros(1, 32, 1, 1, dtype=torch.double)
            step[:, channel] = 1e-6
            up, down = (model.head(model.neck((last + s,)))[:, 4] for s in (step, -step))
            weights.append((up - down) / 2e-6 / 49)
        expected = (torch.stack(weights, 1)[..., None, None] * last).sum(1).clamp(min=0)
    assert expected.max() > 0
    torch.testing.assert_close(maps.grad_cam, expected, atol=1e-6, rtol=1e-5)
    # the network has not changed
    assert kept == [parameter.requires_grad for parameter in model.parameters()]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ('backbone', 'side'),
    [
        (RESNET, 64),
        (dict(type='ResNet', depth=50, base_channels=8, stem_channels=8), 64),
        (dict(type='IResNet', depth=50, frozen_stages=4), 32),
    ],
    ids=['res18', 'res50', 'ir50'],
)
def test_grad_cam_of_global_average_pooling_is_cam(backbone, side):
    """With a linear classifier on means it is CAM, up to a factor (Selvaraju et al., Sec. 3)."""
    channels = {'IResNet': 512}.get(backbone['type'], 32 if backbone['depth'] == 18 else 256)
    model = build_classifier(backbone, 'gap', channels)
    maps = attention_maps(model, make_images(side, side))
    last = model.backbone(make_images(side, side))[-1].detach()
    weight = model.head.fc.weight.detach()[maps.classes][..., None, None]
    expected = (weight * last).sum(1).clamp(min=0) / last[0, 0].numel()
    torch.testing.assert_close(maps.grad_cam, expected)
    torch.testing.assert_close(maps.attention, (last**2).sum(1) / channels)
    assert maps.cells is None and 'GlobalAveragePooling' in maps.absent['cells']
    # an image alone gives the same map
    alone = attention_maps(model, make_images(side, side)[1:], int(maps.classes[1]))
    torch.testing.assert_close(alone.grad_cam[0], maps.grad_cam[1])


def test_grad_cam_equals_pytorch_grad_cam():
    library = pytest.importorskip('pytorch_grad_cam')
    targets = pytest.importorskip('pytorch_grad_cam.utils.model_targets')
    model = build_classifier(RESNET, width=54).float()
    inputs = make_images(112, 112).float()
    ours = attention_maps(model, inputs, 4).grad_cam
    layer = model.backbone.layer3  # its output is that of the backbone
    wanted = [targets.ClassifierOutputTarget(4)] * 2
    cam = library.GradCAM(model=model, target_layers=[layer])
    cam(inputs, wanted)  # also scales and enlarges; get_cam_image gives the map before that
    parts = (cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0])
    theirs = cam.get_cam_image(inputs, layer, wanted, *(part.numpy() for part in parts))
    assert ours.max() > 0
    torch.testing.assert_close(ours, torch.from_numpy(theirs).clamp(min=0))


def test_apvit_has_its_own_map_and_no_cells():
    model = build_classifier(APVIT, 'none', 16, frozen_stages=4)
    maps = attention_maps(model, make_images(32, 32))
    torch.testing.assert_close(maps.own, model.backbone.attention_map(make_images(32, 32))[:, 0])
    assert maps.own.shape == maps.grad_cam.shape == maps.attention.shape == (2, 4, 4)
    assert maps.grad_cam.max() > 0
    assert list(maps.absent) == ['cells'] and 'no neck' in maps.absent['cells']


def test_transformer_has_maps_if_it_outputs_a_feature_map():
    model = build_classifier(VIT, channels=16, width=54, out_type='featmap', frozen_stages=2)
    maps = attention_maps(model, make_images(98, 98), 0)
    assert maps.attention.shape == maps.grad_cam.shape == (2, 7, 7)
    # taken before the last LayerNorm, after which the mean square of each position is 1
    last = []
    model.backbone.ln1.register_forward_pre_hook(lambda _, inputs: last.append(inputs[0]))
    normed = model.backbone(make_images(98, 98))[-1].detach()
    torch.testing.assert_close(
        normed.square().mean(1), torch.ones(2, 7, 7).double(), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(maps.attention.flatten(1), last[0].detach()[:, 1:].square().mean(2))
    assert (maps.attention.amax() / maps.attention.amin()) > 1.1
    logit = maps.cells.sum((1, 2)) + model.head.fc.bias.detach()[0]
    torch.testing.assert_close(logit, model(make_images(98, 98))[:, 0].detach(), atol=1e-5, rtol=0)
    vector = attention_maps(
        build_classifier(VIT, 'none', 16, out_type='cls_token'), make_images(98, 98)
    )
    assert vector.attention is vector.grad_cam is vector.cells is vector.own is None
    assert 'outputs a vector' in vector.absent['grad_cam']


def test_edges_of_cells():
    maps = attention_maps(build_classifier(RESNET, width=54), make_images(112, 112))
    assert maps.edges == ([0, 2.5 / 7, 4.5 / 7, 1], [0, 2.5 / 7, 4.5 / 7, 1])
    # 8x7 positions: no cell depends on the last row
    maps = attention_maps(build_classifier(RESNET, width=54), make_images(128, 112))
    assert maps.edges[0] == [0, 2.5 / 8, 4.5 / 8, 7 / 8]


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match='got images of 80x80 pixels'):
        attention_maps(build_classifier(RESNET, width=54), make_images(80, 80))


def test_evidence_against_the_class_is_clipped():
    maps = torch.tensor([[[[1.0, 2.0]], [[4.0, 1.0]]]])
    gradients = torch.tensor([[[[2.0, 4.0]], [[-1.0, -1.0]]]])  # weights 3 and -1
    assert grad_cam(maps, gradients).tolist() == [[[0.0, 5.0]]]
    assert activation_attention(maps).tolist() == [[[8.5, 2.5]]]
