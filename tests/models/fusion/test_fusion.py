"""Fusion of streams equals plain renderings of the formulas, masks included."""

import pytest
import torch
from torch.nn.functional import layer_norm

from abaw_mm.errors import UserError
from abaw_mm.models import ConcatFusion, CrossAttentionFusion, GatedFusion
from abaw_mm.models.windows import encode_positions

WIDTHS = dict(video=5, audio=3)
FUSIONS = [ConcatFusion, GatedFusion, CrossAttentionFusion]
N, W = 4, 7


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def normalise(x, mask, norm):
    return layer_norm(x, x.shape[-1:], norm.weight, norm.bias) * mask[..., None]


def attend(layer, query, key, mask, heads):
    """Multi-head attention written out; ``mask`` (N, W) are the keys that are seen."""
    size = query.shape[-1] // heads
    parts = zip(layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3), strict=True)
    q, k, v = (x @ w.T + b for (w, b), x in zip(parts, (query, key, key), strict=True))
    out = torch.zeros_like(q)
    for n in range(len(q)):
        rows = mask[n] if mask[n].any() else torch.ones_like(mask[n])  # zeros, where none is seen
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            weight = (q[n, :, part] @ k[n, rows, part].T / size**0.5).softmax(1)
            out[n, :, part] = weight @ v[n, rows, part]
    return linear(layer.out_proj, out)


def norm(layer, x):
    return layer_norm(x, x.shape[-1:], layer.weight, layer.bias, layer.eps)


def render_concat(net, v, a, seen_v, seen_a):
    return linear(net.project, torch.cat([v, a], 2)).clamp(min=0)


def render_gate(net, v, a, seen_v, seen_a):
    hidden = linear(net.gate[0], torch.cat([v, a], 2)).clamp(min=0)
    g = 1 / (1 + torch.exp(-linear(net.gate[3], hidden)))
    g[seen_v & ~seen_a], g[seen_a & ~seen_v] = 1, 0
    return g * linear(net.projects['video'], v) + (1 - g) * linear(net.projects['audio'], a)


def render_cross_attention(net, v, a, seen_v, seen_a):
    x = dict(video=v, audio=a)
    seen = dict(video=seen_v, audio=seen_a)
    for name in x:
        x[name] = linear(net.projects[name], x[name])
        x[name] = (x[name] + encode_positions(x[name])) * seen[name][..., None]
    for block in net.layers:
        new = {}
        for name, other in (('video', 'audio'), ('audio', 'video')):
            layer, y = block[name], x[name]
            y = norm(layer.norm1, y + attend(layer.self_attn, y, y, seen[name], 2))
            y = norm(layer.norm2, y + attend(layer.multihead_attn, y, x[other], seen[other], 2))
            hidden = linear(layer.linear1, y).clamp(min=0)
            y = norm(layer.norm3, y + linear(layer.linear2, hidden))
            new[name] = y * seen[name][..., None]
        x = new
    return linear(net.project, torch.cat([x['video'], x['audio']], 2)).clamp(min=0)


RENDER = dict(zip(FUSIONS, (render_concat, render_gate, render_cross_attention), strict=True))


def build(kind, **options):
    torch.manual_seed(0)
    if kind is CrossAttentionFusion:
        options = dict(num_heads=2, num_layers=2) | options
    net = kind(WIDTHS, channels=8, **options).eval()
    for parameter in net.parameters():  # biases and norms other than at the start
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def make_batch():
    """Random features and masks: all, some, no audio at all, no video at all in a window."""
    generator = torch.Generator().manual_seed(1)
    inputs = {n: torch.randn(N, W, d, generator=generator) for n, d in WIDTHS.items()}
    seen = {n: torch.rand(N, W, generator=generator) > 0.4 for n in WIDTHS}
    seen['video'][0] = seen['audio'][0] = True
    seen['audio'][2] = False
    seen['video'][3] = False
    return inputs, seen


@pytest.mark.parametrize('kind', FUSIONS)
def test_fusion_equals_its_formula(kind):
    net = build(kind)
    inputs, seen = make_batch()
    expected = RENDER[kind](
        net,
        *(normalise(inputs[n], seen[n], net.norms[n]) for n in WIDTHS),
        seen['video'],
        seen['audio'],
    )
    expected = expected * (seen['video'] | seen['audio'])[..., None]
    out = net(inputs, seen)
    assert out.isfinite().all()
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('kind', FUSIONS)
def test_hidden_frames_have_no_effect_and_no_nan(kind):
    net = build(kind)
    inputs, seen = make_batch()
    out = net(inputs, seen)
    garbage = {n: x.masked_fill(~seen[n][..., None], 1e4) for n, x in inputs.items()}
    assert torch.equal(net(garbage, seen), out)
    assert not out[~(seen['video'] | seen['audio'])].any()
    hidden = {n: torch.zeros_like(mask) for n, mask in seen.items()}
    assert not net(inputs, hidden).any()
    net.train()
    net(inputs, seen).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize('kind', FUSIONS)
def test_without_masks_all_frames_are_seen(kind):
    net, (inputs, seen) = build(kind), make_batch()
    everything = {n: torch.ones_like(mask) for n, mask in seen.items()}
    assert torch.equal(net(inputs), net(inputs, everything))


@pytest.mark.parametrize('kind', FUSIONS)
def test_other_streams_and_widths_are_refused(kind):
    net, (inputs, _) = build(kind), make_batch()
    with pytest.raises(UserError, match="got {'video': 5}, expected .*'audio': 3"):
        net(dict(video=inputs['video']))
    with pytest.raises(UserError, match='got one stream, expected'):
        net(inputs['video'])
    with pytest.raises(UserError, match='in_channels of 1 streams, expected (at least )?2'):
        kind(dict(video=5))
    with pytest.raises(UserError, match='in_channels.audio=0, expected 1 to'):
        kind(dict(video=5, audio=0))


def test_list_of_widths_is_numbered():
    assert ConcatFusion([5, 3, 2]).in_channels == {'0': 5, '1': 3, '2': 2}
