"""Transformer encoder over the frames of a window."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import between, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.windows import check_width, encode_positions, get_mask, make_padding_mask


@MODELS.register_module()
class WindowTransformer(BaseModule):
    """Combine the features of all frames of a window: (N, W, D) -> (N, W, C).

    Features are normalised per frame (LayerNorm), projected to C channels, and passed with a
    sinusoidal position encoding to torch's ``TransformerEncoder``. Frames that are not seen have
    no effect on the others.

    Every frame sees its whole window, so scores depend on the windows. Overlapping windows
    (``step`` of the dataset) average the scores of a frame.

    Args:
        in_channels (int): Features per frame, D.
        channels (int): Width of the layers, C, a multiple of ``num_heads`` and even. Defaults to
            256.
        num_layers (int): Number of layers. Defaults to 3.
        num_heads (int): Number of attention heads. Defaults to 8.
        dropout (float): Dropout probability in the layers. Defaults to 0.1.
        init_cfg (dict, optional): Initialization, as in mmengine's ``BaseModule``.

    Raises:
        ValueError: If ``channels`` does not fit.

    Example:
        >>> net = WindowTransformer(in_channels=5, channels=8, num_layers=1, num_heads=2)
        >>> net(torch.zeros(2, 9, 5)).shape
        torch.Size([2, 9, 8])
    """

    @check_arguments(
        'model.backbone',
        in_channels=between(1, 65_536),
        channels=between(1, 65_536),
        num_layers=between(1, 48),
        num_heads=between(1, 256),
        dropout=between(0, 1, below=True),
    )
    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        num_layers: int = 3,
        num_heads: int = 8,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_heads('WindowTransformer', channels, num_heads)
        self.in_channels = in_channels
        self.norm = nn.LayerNorm(in_channels)
        self.project = nn.Linear(in_channels, channels)
        layer = nn.TransformerEncoderLayer(
            channels, num_heads, 4 * channels, dropout, batch_first=True
        )
        # Nested tensors would cut off the frames that no window of the batch sees.
        self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)

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
        check_width('WindowTransformer', x, self.in_channels)
        mask = get_mask(x, seen)
        x = self.project(self.norm(x))
        x = (x + encode_positions(x)) * mask[..., None]
        x = self.encoder(x, src_key_padding_mask=make_padding_mask(mask))
        return x * mask[..., None]


def check_heads(owner: str, channels: int, num_heads: int) -> None:
    """Raise ValueError unless heads share the channels evenly, and sines and cosines do."""
    if channels % num_heads or channels % 2:
        raise InvalidValueError(
            f'{owner}: got channels={channels} and num_heads={num_heads}, expected an even number '
            'of channels that is a multiple of num_heads; set model.backbone.channels'
        )
