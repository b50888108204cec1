"""Fusion of streams by concatenation."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import between, check_arguments
from abaw_mm.models.fusion.stream_fusion import StreamFusion


@MODELS.register_module()
class ConcatFusion(StreamFusion):
    """Project the concatenated streams: z = ReLU(W [x_1; ...; x_S] + b).

    x_s are the features of stream s, normalised per frame, zero where the stream has no frame.

    Args:
        in_channels (dict[str, int] | Sequence[int]): Features per frame of each stream, with the
            names of ``feature_dir`` of the dataset.
        channels (int): Number of features of z, C. Defaults to 256.
        dropout (float): Dropout probability of the concatenated features. Defaults to 0.3.
        init_cfg (dict, optional): Initialization, as in mmengine's ``BaseModule``.

    Example:
        >>> fusion = ConcatFusion(dict(video=5, audio=3), channels=4)
        >>> fusion(dict(video=torch.zeros(2, 9, 5), audio=torch.zeros(2, 9, 3))).shape
        torch.Size([2, 9, 4])
    """

    @check_arguments(
        'model.backbone', channels=between(1, 65_536), dropout=between(0, 1, below=True)
    )
    def __init__(
        self,
        in_channels: dict | Sequence[int],
        channels: int = 256,
        dropout: float = 0.3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(in_channels, init_cfg=init_cfg)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(sum(self.in_channels.values()), channels)

    def fuse(
        self, streams: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Compute z, (N, W, C)."""
        return self.project(self.dropout(torch.cat(list(streams.values()), dim=2))).relu()
