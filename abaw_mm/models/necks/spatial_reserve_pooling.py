"""Spatial Reserve Pooling, the paper's replacement for global average pooling."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from abaw_mm.checks import between, check_arguments
from abaw_mm.errors import InvalidValueError

STRIDES = (1, 2)  # Sec. 3.2.3: the first convolution aggregates, the second halves the map


def map_size_after(size: int, kernel_sizes: Sequence[int]) -> int:
    """Return the side of a map after the two convolutions; below 1 if the map is too small.

    >>> map_size_after(7, (2, 2)), map_size_after(7, (1, 3)), map_size_after(2, (2, 2))
    (3, 3, 0)
    """
    for kernel, stride in zip(kernel_sizes, STRIDES, strict=True):
        size = (size - kernel) // stride + 1
    return size


@MODELS.register_module()
class SpatialReservePooling(BaseModule):
    """Squeeze a feature map with two convolutions and flatten it: (N, C, 7, 7) -> (N, 256*3*3).

    Global average pooling discards where on the face a feature was seen. This neck keeps it
    (Sec. 3.2.3 of Xue, Sun and Yang 2023): a first convolution reduces the C channels to
    ``hidden_channels``, a second one with stride 2 shrinks the map, and the result is flattened for
    the classifier. Each convolution is followed by a norm and an activation. Neither pads.

    The paper gives no kernel sizes. The released code uses ``(2, 2)`` (7 -> 6 -> 3), so its
    checkpoints load by name. ``(1, 3)`` gives the same 3x3 map with 0.740 M parameters for
    ResNet-18 with the classifier, which matches the 0.7 M of the abstract.

    Args:
        in_channels (int): Channels C of the map, 512 for ResNet-18, 2048 for ResNet-50.
        hidden_channels (int): Channels after each convolution. Defaults to 256 (the paper).
        kernel_sizes (Sequence[int]): Kernel sizes of the two convolutions, in cells of the map.
            Defaults to (2, 2).
        norm_cfg (dict): Config of the norm layer. Defaults to ``dict(type='BN')``; the released
            code uses ``SyncBN``.
        act_cfg (dict): Config of the activation. Defaults to ``dict(type='ReLU')``.
        init_cfg (dict, optional): Initialization, as in mmengine's ``BaseModule``.

    Raises:
        ValueError: If ``kernel_sizes`` are not two positive integers.

    Example:
        >>> import torch
        >>> neck = SpatialReservePooling(in_channels=512)
        >>> neck((torch.zeros(2, 512, 7, 7), ))[0].shape
        torch.Size([2, 2304])
        >>> neck.flat_width(7)
        2304
    """

    @check_arguments(
        'model.neck',
        in_channels=between(1, 65_536),
        hidden_channels=between(1, 65_536),
        kernel_sizes=between(1, 64),
    )
    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 256,
        kernel_sizes: tuple[int, int] = (2, 2),
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.kernel_sizes = tuple(kernel_sizes)
        common = dict(
            norm_cfg=norm_cfg or dict(type='BN'),
            act_cfg=act_cfg or dict(type='ReLU'),
        )
        self.conv1 = ConvModule(
            in_channels, hidden_channels, kernel_sizes[0], stride=STRIDES[0], **common
        )
        self.conv2 = ConvModule(
            hidden_channels, hidden_channels, kernel_sizes[1], stride=STRIDES[1], **common
        )

    def flat_width(self, map_size: int | tuple[int, int]) -> int:
        """Return the width of the flat feature, which is the head's ``in_channels``.

        It is 2304 for 7x7 cells (a ResNet on 224x224 pixels) and 256 for 4x4 (112x112 pixels).

        Args:
            map_size (int | tuple[int, int]): Side of a square map, or (H, W), in cells.

        Raises:
            ValueError: If the map is too small to leave a single cell.
        """
        height, width = (map_size, map_size) if isinstance(map_size, int) else map_size
        out = [map_size_after(side, self.kernel_sizes) for side in (height, width)]
        if min(out) < 1:
            smallest = sum(self.kernel_sizes) - 1
            raise InvalidValueError(
                f'SpatialReservePooling: got a map of {height}x{width} cells, expected at least '
                f'{smallest}x{smallest} for kernel_sizes={self.kernel_sizes}; use larger images '
                '(a ResNet makes 7x7 cells of 224x224 pixels) or set smaller '
                'model.neck.kernel_sizes'
            )
        return self.hidden_channels * out[0] * out[1]

    def forward(self, x: torch.Tensor | Sequence[torch.Tensor]) -> tuple[torch.Tensor]:
        """Pool the last map.

        Args:
            x (Tensor | Sequence[Tensor]): Map (N, C, H, W), or the tuple of maps of a backbone.

        Returns:
            tuple[Tensor]: One tensor, (N, ``flat_width((H, W))``).

        Raises:
            ValueError: If the map has not ``in_channels`` channels or is too small.
        """
        if not isinstance(x, torch.Tensor):
            x = x[-1]
        self._check_map(x)
        return (self.conv2(self.conv1(x)).flatten(1),)

    def _check_map(self, x: torch.Tensor) -> None:
        if x.dim() != 4:
            raise InvalidValueError(
                f'SpatialReservePooling: got features of shape {tuple(x.shape)}, expected a map '
                "(N, C, H, W); set model.backbone.out_type='featmap' of a vision transformer, or "
                'gap_before_final_norm=False of a ConvNeXt'
            )
        if x.shape[1] != self.in_channels:
            raise InvalidValueError(
                f'SpatialReservePooling: got a map of shape {tuple(x.shape)}, expected '
                f'(N, {self.in_channels}, H, W); set model.neck.in_channels to the channels of '
                "the backbone's last stage"
            )
        self.flat_width((x.shape[2], x.shape[3]))  # raises if the map is too small
