"""Multi-layer perceptron over the features of single frames."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import between, check_arguments
from abaw_mm.models.windows import check_width, get_mask


@MODELS.register_module()
class FrameMLP(BaseModule):
    """Map the features of each frame by itself: (N, W, D) -> (N, W, C).

    Features are normalised per frame (LayerNorm). Each layer is linear, ReLU and dropout. A frame
    does not see its neighbours, so scores do not depend on the windows.

    Args:
        in_channels (int): Features per frame, D.
        channels (int): Width of the layers, C. Defaults to 128.
        num_layers (int): Number of layers. Defaults to 1.
        dropout (float): Dropout probability after each layer. Defaults to 0.3.
        init_cfg (dict, optional): Initialization, as in mmengine's ``BaseModule``.

    Example:
        >>> FrameMLP(in_channels=5, channels=4)(torch.zeros(2, 9, 5)).shape
        torch.Size([2, 9, 4])
    """

    reach = 0  # frames on either side that affect the output of a frame

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
        num_layers: int = 1,
        dropout: float = 0.3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.norm = nn.LayerNorm(in_channels)
        layers: list[nn.Module] = []
        for width in [in_channels, *[channels] * (num_layers - 1)]:
            layers += [nn.Linear(width, channels), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the features of each frame.

        Args:
            x (Tensor): (N, W, D) features.
            seen (Tensor, optional): Mask (N, W) bool, False where a frame is missing. Defaults to
                all True.

        Returns:
            Tensor: (N, W, C), zero where ``seen`` is False.

        Raises:
            ValueError: If the features do not have ``in_channels`` values.
        """
        check_width('FrameMLP', x, self.in_channels)
        return self.layers(self.norm(x)) * get_mask(x, seen)[..., None]
