"""Fusion learns classes of which each stream alone shows only some."""

import pytest
import torch
from torch import nn

from abaw_mm.models import ConcatFusion, CrossAttentionFusion, FrameMLP, GatedFusion

WIDTHS = dict(video=6, audio=4)


def make_windows(seed):
    """Video separates classes 0 and 1 from each other and from the rest, audio 2 and 3."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(4, (16, 12), generator=generator)
    inputs = {}
    for name, shown in (
        ('video', torch.tensor([0, 1, 2, 2])),
        ('audio', torch.tensor([0, 0, 1, 2])),
    ):
        centre = torch.randn(3, WIDTHS[name], generator=torch.Generator().manual_seed(7)) * 2
        noise = torch.randn(*label.shape, WIDTHS[name], generator=generator)
        inputs[name] = centre[shown[label]] + 0.3 * noise
    return inputs, label


def score_after_training(net, pick=lambda inputs: inputs):
    """Train for a few steps and return the accuracy on other windows."""
    torch.manual_seed(0)
    head = nn.Linear(16, 4)
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=5e-3)
    net.train()
    for step in range(60):
        inputs, label = make_windows(step)
        loss = nn.functional.cross_entropy(head(net(pick(inputs))).flatten(0, 1), label.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inputs, label = make_windows(-1)
    with torch.no_grad():
        return (head(net.eval()(pick(inputs))).argmax(2) == label).float().mean().item()


@pytest.mark.parametrize('kind', [ConcatFusion, GatedFusion, CrossAttentionFusion])
def test_fusion_separates_all_classes(kind):
    torch.manual_seed(0)
    assert score_after_training(kind(WIDTHS, channels=16)) > 0.95


@pytest.mark.parametrize('name', WIDTHS)
def test_single_stream_does_not(name):
    torch.manual_seed(0)
    net = FrameMLP(WIDTHS[name], channels=16)
    assert 0.6 < score_after_training(net, lambda inputs: inputs[name]) < 0.9
