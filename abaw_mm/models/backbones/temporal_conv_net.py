"""Temporal convolutional network over the frames of a clip."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import between, check_arguments
from abaw_mm.models.windows import check_width

KERNEL_SIZE = 3


class DilatedResidualLayer(nn.Module):
    """Dilated convolution, ReLU, 1x1 convolution and dropout with a residual connection.

    The layer of MS-TCN (Farha and Gall 2019, arXiv 1903.01945, Eq. 2 and 3).
    """

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv_dilated = nn.Conv1d(
            channels, channels, KERNEL_SIZE, padding=dilation, dilation=dilation
        )
        self.conv_1x1 = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Map (N, C, W) to the same shape; the mask ``seen`` (N, 1, W) contains 0 and 1."""
        out = self.conv_1x1(self.conv_dilated(x).relu())
        return (x + self.dropout(out)) * seen


@MODELS.register_module()
class TemporalConvNet(BaseModule):
    """Combine the features of each frame with those of its neighbours: (N, W, D) -> (N, W, C).

    Residual layers of convolutions whose dilation doubles from layer to layer, as in Bai et al.
    2018 (arXiv 1803.01271). The convolutions are not causal, as in MS-TCN (arXiv 1903.01945),
    because clips are complete when they are scored. Features are normalised per frame (LayerNorm,
    in float32). Frames that are not seen are set to zero before each layer, like the padding beyond
    the ends of a clip, so they do not affect their neighbours.

    With ``num_layers`` L, the output of a frame depends on ``reach`` = 2^L - 1 frames on each side.

    Args:
        in_channels (int): Features per frame, D.
        channels (int): Width of the layers, C. Defaults to 128.
        num_layers (int): Number of dilated layers, at least 1. Defaults to 6.
        dropout (float): Dropout probability of the input features and in each layer. Defaults to
            0.3.
        init_cfg (dict, optional): Initialization, as in mmengine's ``BaseModule``.

    Raises:
        ValueError: If ``num_layers`` is less than 1.

    Example:
        >>> net = TemporalConvNet(in_channels=5, channels=4, num_layers=2)
        >>> net(torch.zeros(2, 9, 5)).shape, net.reach
        (torch.Size([2, 9, 4]), 3)
    """

    @check_arguments(
        'model.backbone',
        in_channels=between(1, 65_536),
        channels=between(1, 65_536),
        num_layers=between(1, 24),
        dropout=between(0, 1, below=True),
    )
    def __init__(
        self,
        in_channels: int,
        channels: int = 128,
        num_layers: int = 6,
        dropout: float = 0.3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.num_layers = num_layers
        self.norm = nn.LayerNorm(in_channels)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(in_channels, channels)
        self.layers = nn.ModuleList(
            DilatedResidualLayer(channels, 2**i, dropout) for i in range(num_layers)
        )

    @property
    def reach(self) -> int:
        """Number of frames on each side that affect the output of a frame."""
        return (KERNEL_SIZE - 1) // 2 * (2**self.num_layers - 1)

    def forward(self, x: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Compute features that include the context of each frame.

        Args:
            x (Tensor): (N, W, D) features.
            seen (Tensor, optional): Mask (N, W) bool, False where a frame is missing. Defaults to
                all True.

        Returns:
            Tensor: (N, W, C), zero where ``seen`` is False.

        Raises:
            ValueError: If the features do not have ``in_channels`` values.
        """
        check_width('TemporalConvNet', x, self.in_channels)
        seen = x.new_ones(x.shape[:2]) if seen is None else seen.to(x.dtype)
        seen = seen[:, None]
        x = self.project(self.dropout(self.norm(x))).transpose(1, 2) * seen
        for layer in self.layers:
            x = layer(x, seen)
        return x.transpose(1, 2)
