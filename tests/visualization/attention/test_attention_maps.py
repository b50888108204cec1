"""Attention maps against formulas by hand, finite differences and pytorch-grad-cam."""

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


def classifier(backbone, neck='srp', channels=32, width=None, **options):
    """A classifier of eight classes with random weights and statistics, in double precision."""
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


def images(*size):
    return torch.randn(2, 3, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ('size', 'cells'), [((112, 112), (3, 3)), ((80, 80), (2, 2)), ((112, 80), (3, 2))]
)
def test_cells_and_bias_are_the_logit(size, cells):
    model = classifier(RESNET, width=6 * cells[0] * cells[1])
    for index in (None, 4):
        maps = attention_maps(model, images(*size), index)
        assert maps.cells.shape == (2, *cells) and (maps.cells < 0).any()
        logits = model(images(*size)).detach()
        if index is None:
            assert maps.classes.equal(logits.argmax(1))
        else:
            assert maps.classes.tolist() == [index, index]
        logit = maps.cells.sum((1, 2)) + model.head.fc.bias.detach()[maps.classes]
        torch.testing.assert_close(logit, logits[range(2), maps.classes], atol=1e-5, rtol=0)
        torch.testing.assert_close(maps.scores, logits.softmax(1))


def test_a_cell_adds_what_the_logit_loses_without_it():
    """The place in the grid, not only the sum: channels and cells are flattened in that order."""
    model = classifier(RESNET, width=54)
    maps = attention_maps(model, images(112, 112), 2)
    handle = model.neck.conv2.register_forward_hook(
        lambda _, __, out: out * (torch.arange(9).view(3, 3) != 5)
    )
    without = model(images(112, 112))[:, 2]
    handle.remove()
    torch.testing.assert_close(
        maps.cells[:, 1, 2], (model(images(112, 112))[:, 2] - without).detach()
    )


@pytest.mark.parametrize('frozen', [-1, 3, 4])
def test_grad_cam_by_finite_differences_whatever_is_frozen(frozen):
    """A channel's weight is what its logit gains when all its places rise together."""
    model = classifier(RESNET, width=54, frozen_stages=min(frozen, 3))
    if frozen == 4:  # all that there is, the neck and the head as well
        model.requires_grad_(False)
    kept = [parameter.requires_grad for parameter in model.parameters()]
    maps = attention_maps(model, images(112, 112), 4)
    with torch.no_grad():
        last = model.backbone(images(112, 112))[-1]
        weights = []
        for channel in range(32):
            step = torch.zeros(1, 32, 1, 1, dtype=torch.double)
            step[:, channel] = 1e-6
            up, down = (model.head(model.neck((last + s,)))[:, 4] for s in (step, -step))
            weights.append((up - down) / 2e-6 / 49)
        expected = (torch.stack(weights, 1)[..., None, None] * last).sum(1).clamp(min=0)
    assert expected.max() > 0
    torch.testing.assert_close(maps.grad_cam, expected, atol=1e-6, rtol=1e-5)
    # and the network is as it was
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
    """Selvaraju et al., Sec. 3: a linear classifier on means makes it CAM, over the places."""
    channels = {'IResNet': 512}.get(backbone['type'], 32 if backbone['depth'] == 18 else 256)
    model = classifier(backbone, 'gap', channels)
    maps = attention_maps(model, images(side, side))
    last = model.backbone(images(side, side))[-1].detach()
    weight = model.head.fc.weight.detach()[maps.classes][..., None, None]
    expected = (weight * last).sum(1).clamp(min=0) / last[0, 0].numel()
    torch.testing.assert_close(maps.grad_cam, expected)
    torch.testing.assert_close(maps.attention, (last**2).sum(1) / channels)
    assert maps.cells is None and 'GlobalAveragePooling' in maps.absent['cells']
    # one by one, or together
    alone = attention_maps(model, images(side, side)[1:], int(maps.classes[1]))
    torch.testing.assert_close(alone.grad_cam[0], maps.grad_cam[1])


def test_grad_cam_is_that_of_pytorch_grad_cam():
    library = pytest.importorskip('pytorch_grad_cam')
    targets = pytest.importorskip('pytorch_grad_cam.utils.model_targets')
    model = classifier(RESNET, width=54).float()
    inputs = images(112, 112).float()
    ours = attention_maps(model, inputs, 4).grad_cam
    layer = model.backbone.layer3  # whose output the backbone hands on
    wanted = [targets.ClassifierOutputTarget(4)] * 2
    cam = library.GradCAM(model=model, target_layers=[layer])
    cam(inputs, wanted)  # scales and enlarges; what it does before comes from the same parts
    parts = (cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0])
    theirs = cam.get_cam_image(inputs, layer, wanted, *(part.numpy() for part in parts))
    assert ours.max() > 0
    torch.testing.assert_close(ours, torch.from_numpy(theirs).clamp(min=0))


def test_apvit_has_a_map_of_its_own_and_no_cells():
    model = classifier(APVIT, 'none', 16, frozen_stages=4)
    maps = attention_maps(model, images(32, 32))
    torch.testing.assert_close(maps.own, model.backbone.attention_map(images(32, 32))[:, 0])
    assert maps.own.shape == maps.grad_cam.shape == maps.attention.shape == (2, 4, 4)
    assert maps.grad_cam.max() > 0
    assert list(maps.absent) == ['cells'] and 'no neck' in maps.absent['cells']


def test_a_transformer_has_maps_where_it_hands_on_places():
    model = classifier(VIT, channels=16, width=54, out_type='featmap', frozen_stages=2)
    maps = attention_maps(model, images(98, 98), 0)
    assert maps.attention.shape == maps.grad_cam.shape == (2, 7, 7)
    # before the last LayerNorm, after which the squares of a place have the mean 1
    last = []
    model.backbone.ln1.register_forward_pre_hook(lambda _, inputs: last.append(inputs[0]))
    normed = model.backbone(images(98, 98))[-1].detach()
    torch.testing.assert_close(
        normed.square().mean(1), torch.ones(2, 7, 7).double(), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(maps.attention.flatten(1), last[0].detach()[:, 1:].square().mean(2))
    assert (maps.attention.amax() / maps.attention.amin()) > 1.1
    logit = maps.cells.sum((1, 2)) + model.head.fc.bias.detach()[0]
    torch.testing.assert_close(logit, model(images(98, 98))[:, 0].detach(), atol=1e-5, rtol=0)
    vector = attention_maps(classifier(VIT, 'none', 16, out_type='cls_token'), images(98, 98))
    assert vector.attention is vector.grad_cam is vector.cells is vector.own is None
    assert 'hands on a vector' in vector.absent['grad_cam']


def test_cells_lie_where_they_are_made():
    maps = attention_maps(classifier(RESNET, width=54), images(112, 112))
    assert maps.edges == ([0, 2.5 / 7, 4.5 / 7, 1], [0, 2.5 / 7, 4.5 / 7, 1])
    # 8x8 cells of the map: the last row and column reach none
    maps = attention_maps(classifier(RESNET, width=54), images(128, 112))
    assert maps.edges[0] == [0, 2.5 / 8, 4.5 / 8, 7 / 8]


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match='images of 80x80 pixels do not pass the model'):
        attention_maps(classifier(RESNET, width=54), images(80, 80))


def test_what_speaks_against_a_class_is_cut_off():
    maps = torch.tensor([[[[1.0, 2.0]], [[4.0, 1.0]]]])
    gradients = torch.tensor([[[[2.0, 4.0]], [[-1.0, -1.0]]]])  # weights 3 and -1
    assert grad_cam(maps, gradients).tolist() == [[[0.0, 5.0]]]
    assert activation_attention(maps).tolist() == [[[8.5, 2.5]]]
