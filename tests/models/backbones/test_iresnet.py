"""IResNet: outputs equal those of the released code and of the formula."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch.nn import functional as F

from abaw_mm.models import IResNet


def test_map_equals_released_code(released, tmp_path):
    weights = released.state_dict('ir50')  # the names of face.evoLVe
    torch.save(dict(state_dict=weights), tmp_path / 'ir50.pth')
    init_cfg = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'ir50.pth'))
    backbone = MODELS.build(dict(type='IResNet', depth=50, init_cfg=init_cfg))
    backbone.init_weights()
    backbone.eval()
    with torch.no_grad():
        maps = backbone(released.fill.image((1, 3, 112, 112), seed=50))
    assert len(maps) == 1 and maps[0].shape == (1, 512, 7, 7)
    # The stored output has every eighth of the 512 channels.
    torch.testing.assert_close(maps[0][:, ::8], released.output('ir50'), atol=1e-4, rtol=0)


@pytest.mark.parametrize('se', [False, True])
@pytest.mark.parametrize('depth', [50, 100, 152])
def test_parameter_count(depth, se):
    expected, inputs = 3 * 9 * 64 + 3 * 64, 64  # convolution, norm and slopes of the input layer
    units = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}[depth]
    for channels, number in zip((64, 128, 256, 512), units, strict=True):
        for _ in range(number):
            expected += 9 * inputs * channels + 9 * channels**2 + 2 * inputs + 3 * channels
            expected += (inputs != channels) * (inputs + 2) * channels + se * channels**2 // 8
            inputs = channels
    with torch.device('meta'):
        backbone = IResNet(depth, se)
    assert sum(p.numel() for p in backbone.parameters()) == expected


def test_out_indices_select_maps():
    backbone = IResNet(out_indices=(0, 2, 3)).eval()
    with torch.no_grad():
        shapes = [tuple(x.shape) for x in backbone(torch.zeros(1, 3, 32, 48))]
    assert shapes == [(1, 64, 16, 24), (1, 256, 4, 6), (1, 512, 2, 3)]


@pytest.mark.parametrize(('stage', 'unit'), [(0, 0), (1, 0), (1, 1)])
def test_unit_with_excitation_equals_formula(stage, unit):
    torch.manual_seed(0)
    block = IResNet(se=True, num_stages=2, out_indices=(1,)).eval().body[stage][unit]
    x = torch.randn(2, block.res_layer[0].num_features, 6, 6)
    norm = (1 + 1e-5) ** 0.5
    stride = 1 if unit else 2
    first, slope, second, excite = (block.res_layer[i] for i in (1, 2, 3, 5))
    y = F.conv2d(x / norm, first.weight, padding=1)
    y = torch.where(y > 0, y, slope.weight.view(1, -1, 1, 1) * y)
    y = F.conv2d(y, second.weight, padding=1, stride=stride) / norm
    gate = (y.mean((2, 3)) @ excite.fc1.weight[:, :, 0, 0].T).clamp(min=0)
    gate = (gate @ excite.fc2.weight[:, :, 0, 0].T).sigmoid()
    shortcut = x[:, :, ::stride, ::stride]
    if (stage, unit) == (1, 0):
        shortcut = F.conv2d(shortcut, block.shortcut_layer[0].weight) / norm
    torch.testing.assert_close(block(x), y * gate[:, :, None, None] + shortcut)


def test_norm_eval_keeps_statistics_and_trains_weights():
    backbone = IResNet(num_stages=1, out_indices=(0,), norm_eval=True).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.randn(2, 3, 16, 16))[0].square().sum().backward()
    torch.optim.SGD(backbone.parameters(), lr=0.1).step()
    for name, value in backbone.state_dict().items():
        statistics = name.endswith(('running_mean', 'running_var', 'num_batches_tracked'))
        assert torch.equal(value, before[name]) == statistics, name


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(depth=34), 'depth=34, expected 50 or 100 or 152'),
        (dict(num_stages=5), 'num_stages=5, expected 1 to 4'),
        (dict(num_stages=3), r'out_indices=\(3,\), expected stages from 0 to 2'),
        (dict(out_indices=()), r'out_indices=\(\)'),
        (dict(frozen_stages=5), 'frozen_stages=5, expected -1 to 4'),
    ],
)
def test_invalid_argument_raises(cfg, message):
    with pytest.raises(ValueError, match=message):
        IResNet(**cfg)
