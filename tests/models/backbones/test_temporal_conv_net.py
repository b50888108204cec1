"""TemporalConvNet: outputs equal the formula; reach and mask are respected."""

import pytest
import torch
from torch.nn import functional as F

from abaw_mm.models import TemporalConvNet


@pytest.fixture
def net():
    torch.manual_seed(0)
    return TemporalConvNet(in_channels=5, channels=4, num_layers=3).eval()


def compute_by_loop(net, x, seen):
    """Compute the output for one clip (W, D) frame by frame."""

    def layer_norm(v):
        return (v - v.mean()) / (v.var(unbiased=False) + 1e-5).sqrt() * net.norm.weight + (
            net.norm.bias
        )

    rows = [net.project(layer_norm(v)) * s for v, s in zip(x, seen, strict=True)]
    for i, layer in enumerate(net.layers):
        weight, bias, out = layer.conv_dilated.weight, layer.conv_dilated.bias, []
        for t, row in enumerate(rows):
            total = bias.clone()
            for tap, at in enumerate((t - 2**i, t, t + 2**i)):
                if 0 <= at < len(rows):
                    total = total + weight[:, :, tap] @ rows[at]
            step = layer.conv_1x1.weight[:, :, 0] @ total.relu() + layer.conv_1x1.bias
            out.append((row + step) * seen[t])
        rows = out
    return torch.stack(rows)


def test_output_equals_loop_over_frames(net):
    x, seen = torch.randn(2, 20, 5), torch.rand(2, 20) > 0.3
    out = net(x, seen)
    for row in range(2):
        torch.testing.assert_close(out[row], compute_by_loop(net, x[row], seen[row]))
    torch.testing.assert_close(net(x), net(x, torch.ones(2, 20, dtype=torch.bool)))


def test_output_depends_on_reach_frames_on_each_side(net):
    x = torch.randn(1, 41, 5)
    changed = x.clone()
    changed[0, 20] = torch.randn(5)
    moved = (net(x) != net(changed)).any(-1)[0].nonzero().flatten()
    assert net.reach == 7 and (moved.min(), moved.max()) == (13, 27)


def test_unseen_frames_do_not_affect_others(net):
    x, seen = torch.randn(1, 30, 5), torch.ones(1, 30, dtype=torch.bool)
    seen[0, [4, 5, 17]] = False
    other = torch.where(seen[..., None], x, torch.randn(1, 30, 5) * 100)
    assert torch.equal(net(x, seen), net(other, seen))
    assert (net(x, seen)[~seen] == 0).all()
    # Padding is like unseen frames.
    padded = net(F.pad(x, (0, 0, 9, 9)), F.pad(seen, (9, 9)))
    torch.testing.assert_close(padded[:, 9:-9], net(x, seen))


def test_other_feature_width_raises():
    with pytest.raises(ValueError, match=r'got 4 features per frame, .*in_channels=4'):
        TemporalConvNet(in_channels=5)(torch.zeros(1, 3, 4))


def test_no_layers_raises():
    with pytest.raises(ValueError, match='got num_layers=0'):
        TemporalConvNet(in_channels=5, num_layers=0)
