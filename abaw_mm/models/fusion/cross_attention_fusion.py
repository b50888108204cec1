"""Fusion of two streams by attention of each to the other."""

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import between, check_arguments
from abaw_mm.models.backbones.window_transformer import check_heads
from abaw_mm.models.fusion.stream_fusion import StreamFusion
from abaw_mm.models.windows import encode_positions, make_padding_mask


@MODELS.register_module()
class CrossAttentionFusion(StreamFusion):
    """Let the frames of two streams attend to each other within a window.

    Each stream, v and a, is projected to C channels and gets a sinusoidal position encoding. A
    layer is torch's ``TransformerDecoderLayer`` for each stream: attention among its own frames,
    attention to the frames of the other stream as they were before the layer, and a feed-forward
    part. The output is z = ReLU(W [v; a] + b).

    Frames that a stream lacks are zero after each layer and have no effect on others. A stream
    that has no frame in a window is one of zeros to the other stream.

    Every frame sees its whole window, so scores depend on the windows, as with
    ``WindowTransformer``.

    Args:
        in_channels (dict[str, int] | Sequence[int]): Features per frame of the two streams, with
            the names of ``feature_dir`` of the dataset.
        channels (int): Width of the layers and of z, C, a multiple of ``num_heads`` and even.
            Defaults to 256.
        num_layers (int): Number of layers. Defaults to 1.
        num_heads (int): Number of attention heads. Defaults to 8.
        dropout (float): Dropout probability in the layers and of z. Defaults to 0.1.
        init_cfg (dict, optional): Initialization, as in mmengine's ``BaseModule``.

    Raises:
        ValueError: If ``channels`` does not fit.

    Example:
        >>> fusion = CrossAttentionFusion(dict(video=5, audio=3), channels=8)
        >>> fusion(dict(video=torch.zeros(2, 9, 5), audio=torch.zeros(2, 9, 3))).shape
        torch.Size([2, 9, 8])
    """

    @check_arguments(
        'model.backbone',
        channels=between(1, 65_536),
        num_layers=between(1, 48),
        num_heads=between(1, 256),
        dropout=between(0, 1, below=True),
    )
    def __init__(
        self,
        in_channels: dict | Sequence[int],
        channels: int = 256,
        num_layers: int = 1,
        num_heads: int = 8,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(in_channels, num_streams=2, init_cfg=init_cfg)
        check_heads('CrossAttentionFusion', channels, num_heads)
        self.projects = nn.ModuleDict(
            {name: nn.Linear(width, channels) for name, width in self.in_channels.items()}
        )
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: nn.TransformerDecoderLayer(
                        channels, num_heads, 4 * channels, dropout, batch_first=True
                    )
                    for name in self.in_channels
                }
            )
            for _ in range(num_layers)
        )
        self.project = nn.Linear(2 * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def fuse(
        self, streams: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Compute z, (N, W, C)."""
        padding = {name: make_padding_mask(mask) for name, mask in masks.items()}
        for name, x in streams.items():
            x = self.projects[name](x)
            streams[name] = (x + encode_positions(x)) * masks[name][..., None]
        one, other = streams
        layer: Any  # a ModuleDict
        for layer in self.layers:
            streams = {
                name: layer[name](
                    streams[name],
                    streams[partner],
                    tgt_key_padding_mask=padding[name],
                    memory_key_padding_mask=padding[partner],
                )
                * masks[name][..., None]
                for name, partner in ((one, other), (other, one))
            }
        return self.dropout(self.project(torch.cat(list(streams.values()), dim=2)).relu())
