"""Backbones over features: FrameMLP and WindowTransformer against plain formulas."""

import pytest
import torch
from torch import nn

from abaw_mm.errors import UserError
from abaw_mm.models import FrameMLP, TemporalConvNet, WindowTransformer
from abaw_mm.models.windows import encode_positions


def test_mlp_equals_its_layers_and_ignores_neighbours():
    torch.manual_seed(0)
    net = FrameMLP(5, channels=4, num_layers=2).eval()
    x = torch.randn(2, 6, 5)
    linears = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
    expected = net.norm(x)
    for layer in linears:
        expected = (expected @ layer.weight.T + layer.bias).clamp(min=0)
    torch.testing.assert_close(net(x), expected)
    seen = torch.rand(2, 6) > 0.5
    torch.testing.assert_close(net(x, seen), expected * seen[..., None])
    torch.testing.assert_close(net(x[:, 3:4]), expected[:, 3:4])


def test_transformer_of_visible_frames_equals_that_of_the_masked_window():
    torch.manual_seed(0)
    net = WindowTransformer(5, channels=8, num_layers=2, num_heads=2).eval()
    x, seen = torch.randn(3, 9, 5), torch.rand(3, 9) > 0.4
    seen[1] = True
    seen[2] = False
    out = net(x, seen)
    assert out.isfinite().all() and not out[~seen].any()
    for row in range(2):  # plain: without a mask, over the visible frames only
        h = net.project(net.norm(x[row])) + encode_positions(torch.zeros(1, 9, 8))
        h = h[seen[row]][None]
        for layer in net.encoder.layers:
            h = layer.norm1(h + layer.self_attn(h, h, h, need_weights=False)[0])
            h = layer.norm2(h + layer.linear2(layer.linear1(h).relu()))
        torch.testing.assert_close(out[row][seen[row]], h[0], atol=1e-5, rtol=1e-5)


def test_transformer_is_the_same_with_and_without_gradients():
    """Torch's fast path for inference computes masked windows like its plain one."""
    torch.manual_seed(0)
    net = WindowTransformer(5, channels=8, num_layers=2, num_heads=2).eval()
    x, seen = torch.randn(3, 9, 5), torch.rand(3, 9) > 0.4
    seen[0, 5:] = seen[1, 5:] = seen[2] = False
    with torch.no_grad():
        fast = net(x, seen)
    torch.testing.assert_close(fast, net(x, seen), atol=1e-6, rtol=1e-5)


def test_positions_are_sines_of_the_first_paper():
    code = encode_positions(torch.zeros(1, 4, 6))
    for position in range(4):
        for i in range(3):
            angle = torch.tensor(position / 10_000 ** (2 * i / 6))
            assert code[position, 2 * i] == pytest.approx(angle.sin().item(), abs=1e-6)
            assert code[position, 2 * i + 1] == pytest.approx(angle.cos().item(), abs=1e-6)


@pytest.mark.parametrize('kind', [FrameMLP, WindowTransformer, TemporalConvNet])
def test_other_widths_and_several_streams_are_refused(kind):
    net = kind(6, channels=8)
    with pytest.raises(UserError, match='got 4 features per frame, expected 6; set model.backbone'):
        net(torch.zeros(1, 3, 4))
    with pytest.raises(UserError, match='got several streams, expected one; .*ConcatFusion'):
        net(dict(video=torch.zeros(1, 3, 6)))


def test_channels_that_heads_cannot_share_are_refused():
    with pytest.raises(UserError, match='channels=10 and num_heads=4'):
        WindowTransformer(6, channels=10, num_heads=4)
