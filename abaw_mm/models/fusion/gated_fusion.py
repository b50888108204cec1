"""Fusion of two streams by a gate per frame and channel."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import between, check_arguments
from abaw_mm.models.fusion.stream_fusion import StreamFusion


@MODELS.register_module()
class GatedFusion(StreamFusion):
    """Mix two streams by a gate: z = g * (W_v v + b_v) + (1 - g) * (W_a a + b_a).

    The gate is g = sigmoid(MLP[v; a]), one number per channel of z, with one hidden layer of C
    units and ReLU. v and a are the features of the first and the second stream, normalised per
    frame. Where a frame has only one of them, g is 1 or 0, so that z is that of this stream.

    Args:
        in_channels (dict[str, int] | Sequence[int]): Features per frame of the two streams, with
            the names of ``feature_dir`` of the dataset.
        channels (int): Number of features of z, C. Defaults to 512.
        dropout (float): Dropout probability of the hidden layer and of z. Defaults to 0.2.
        init_cfg (dict, optional): Initialization, as in mmengine's ``BaseModule``.

    Example:
        >>> fusion = GatedFusion(dict(video=5, audio=3), channels=4)
        >>> fusion(dict(video=torch.zeros(2, 9, 5), audio=torch.zeros(2, 9, 3))).shape
        torch.Size([2, 9, 4])
    """

    @check_arguments(
        'model.backbone', channels=between(1, 65_536), dropout=between(0, 1, below=True)
    )
    def __init__(
        self,
        in_channels: dict | Sequence[int],
        channels: int = 512,
        dropout: float = 0.2,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(in_channels, num_streams=2, init_cfg=init_cfg)
        self.projects = nn.ModuleDict(
            {name: nn.Linear(width, channels) for name, width in self.in_channels.items()}
        )
        self.gate = nn.Sequential(
            nn.Linear(sum(self.in_channels.values()), channels),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(channels, channels),
            nn.Sigmoid(),
        )
        self.dropout = nn.Dropout(dropout)

    def fuse(
        self, streams: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Compute z, (N, W, C)."""
        one, other = (self.projects[name](x) for name, x in streams.items())
        has_one, has_other = (mask[..., None] for mask in masks.values())
        gate = self.gate(torch.cat(list(streams.values()), dim=2))
        gate = gate.where(has_one & has_other, has_one.to(gate.dtype))
        return self.dropout(gate * one + (1 - gate) * other)
