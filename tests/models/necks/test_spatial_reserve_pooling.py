"""Spatial Reserve Pooling: outputs equal those of the released code and of the formula."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.errors import UserError
from abaw_mm.models import SpatialReservePooling


@pytest.mark.parametrize('channels', [512, 2048])
def test_output_equals_released_code(released, channels):
    name = f'srp_released_{channels}'
    holder = nn.Module()
    holder.neck = SpatialReservePooling(channels)
    holder.load_state_dict(released.state_dict(name), strict=True)  # the released key names
    holder.eval()
    with torch.no_grad():
        out = holder.neck((released.fill.image((2, channels, 7, 7), seed=channels),))[0]
    assert out.shape == (2, 2304)
    torch.testing.assert_close(out, released.output(name), atol=1e-5, rtol=0)


@pytest.mark.parametrize('kernels', [(2, 2), (1, 3), (3, 1)])
def test_output_equals_formula(kernels):
    torch.manual_seed(0)
    neck = SpatialReservePooling(8, hidden_channels=4, kernel_sizes=kernels).eval()
    x = torch.randn(3, 8, 7, 7)
    y = F.relu(F.conv2d(x, neck.conv1.conv.weight) / (1 + 1e-5) ** 0.5)
    y = F.relu(F.conv2d(y, neck.conv2.conv.weight, stride=2) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(neck(x)[0], y.flatten(1), atol=1e-5, rtol=1e-5)
    assert neck.flat_width(7) == y.flatten(1).shape[1]


def test_parameter_count_equals_paper():
    def count_millions(kernels):
        head = nn.Linear(2304, 8)
        neck = SpatialReservePooling(512, kernel_sizes=kernels)
        return sum(p.numel() for m in (neck, head) for p in m.parameters()) / 1e6

    assert count_millions((2, 2)) == pytest.approx(0.806, abs=5e-4)
    assert count_millions((1, 3)) == pytest.approx(0.740, abs=5e-4)  # the abstract's 0.7 M


def test_last_map_of_a_tuple_is_pooled():
    neck = MODELS.build(dict(type='SpatialReservePooling', in_channels=4)).eval()
    last = torch.randn(2, 4, 7, 7)
    out = neck((torch.randn(2, 9, 14, 14), last))
    assert isinstance(out, tuple) and len(out) == 1
    torch.testing.assert_close(out[0], neck(last)[0])


@pytest.mark.parametrize(('size', 'width'), [(7, 2304), (4, 256), ((7, 4), 768), (3, 256)])
def test_flat_width_equals_output(size, width):
    neck = SpatialReservePooling(4).eval()
    assert neck.flat_width(size) == width
    height, width_cells = (size, size) if isinstance(size, int) else size
    assert neck(torch.zeros(1, 4, height, width_cells))[0].shape == (1, width)


def test_small_map_raises():
    with pytest.raises(ValueError, match=r'got a map of 2x2 cells, expected at least 3x3'):
        SpatialReservePooling(4)(torch.zeros(2, 4, 2, 2))


def test_other_channels_raise():
    with pytest.raises(ValueError, match=r'\(2, 8, 7, 7\), expected \(N, 4, H, W\)'):
        SpatialReservePooling(4)(torch.zeros(2, 8, 7, 7))


@pytest.mark.parametrize('kernels', [(2,), (2, 0), (2, 2, 2), (2.0, 2)])
def test_invalid_kernel_sizes_raise(kernels):
    with pytest.raises(UserError, match='got kernel_sizes='):
        SpatialReservePooling(4, kernel_sizes=kernels)


ARCH = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
CONVNEXT = dict(type='ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 12, 16]))


@pytest.mark.parametrize(
    ('backbone', 'fix'),
    [
        (dict(type='VisionTransformer', arch=ARCH, img_size=112), dict(out_type='featmap')),
        (
            dict(type='VisionTransformer', arch=ARCH, img_size=112, out_type='raw'),
            dict(out_type='featmap'),
        ),
        (CONVNEXT, dict(gap_before_final_norm=False)),
    ],
)
def test_features_that_are_no_map_are_refused_with_the_setting_that_helps(backbone, fix):
    neck = MODELS.build(dict(type='SpatialReservePooling', in_channels=16))
    images = torch.zeros(2, 3, 224, 224)
    with pytest.raises(ValueError, match='got features of shape') as error:
        neck(MODELS.build(backbone)(images))
    ((name, value),) = fix.items()
    assert f'{name}={value!r}' in str(error.value) and 'in_channels' not in str(error.value)
    assert neck(MODELS.build({**backbone, **fix})(images))[0].dim() == 2
