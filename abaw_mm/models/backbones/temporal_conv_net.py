"""Dilated convolutions over the frames of a clip."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn

KERNEL_SIZE = 3


class DilatedResidualLayer(nn.Module):
    """Dilated convolution, ReLU, 1x1 convolution, dropout, added to the input.

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
        """(N, C, W) to the same; ``seen`` (N, 1, W) is 1 where there is a frame, else 0."""
        out = self.conv_1x1(self.conv_dilated(x).relu())
        return (x + self.dropout(out)) * seen


@MODELS.register_module()
class TemporalConvNet(BaseModule):
    """A temporal convolutional network: each frame looks at the frames around it.

    Residual layers of convolutions whose dilation doubles from layer to layer, as Bai et al. 2018
    (arXiv 1803.01271) have them for sequences; here both sides are seen, as in MS-TCN (arXiv
    1903.01945), for clips are whole when they are scored. Features are normalised in each frame
    (LayerNorm, in float32). Frames that are not seen are zero before every layer, as what lies
    beyond the ends of a clip: they tell their neighbours nothing.

    With ``num_layers`` L a frame depends on the ``reach`` of 2^L - 1 frames on either side.

    Args:
        in_channels (int): Features a frame, D.
        channels (int): Width of the layers, C. Defaults to 128.
        num_layers (int): Number of dilated layers. Defaults to 6.
        dropout (float): Of the features and in each layer. Defaults to 0.3.
        init_cfg (dict, optional): As in mmengine's ``BaseModule``.

    Example:
        >>> net = TemporalConvNet(in_channels=5, channels=4, num_layers=2)
        >>> net(torch.zeros(2, 9, 5)).shape, net.reach
        (torch.Size([2, 9, 4]), 3)
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 128,
        num_layers: int = 6,
        dropout: float = 0.3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_layers < 1:
            raise ValueError(
                f'TemporalConvNet: num_layers={num_layers}, expected at least 1; set '
                'model.backbone.num_layers'
            )
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
        """Frames on either side on which a frame depends."""
        return (KERNEL_SIZE - 1) // 2 * (2**self.num_layers - 1)

    def forward(self, x: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Look at the frames around each.

        Args:
            x (Tensor): (N, W, D) features.
            seen (Tensor, optional): (N, W) bool, False where there is no frame. Defaults to all.

        Returns:
            Tensor: (N, W, C), zero where nothing is seen.

        Raises:
            ValueError: For features of another width.
        """
        if x.shape[-1] != self.in_channels:
            raise ValueError(
                f'TemporalConvNet: got {x.shape[-1]} features a frame, expected '
                f'{self.in_channels}; set model.backbone.in_channels={x.shape[-1]}'
            )
        seen = x.new_ones(x.shape[:2]) if seen is None else seen.to(x.dtype)
        seen = seen[:, None]
        x = self.project(self.dropout(self.norm(x))).transpose(1, 2) * seen
        for layer in self.layers:
            x = layer(x, seen)
        return x.transpose(1, 2)
