"""Base class of models that fuse several streams of features."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule
from torch import nn

from abaw_mm.checks import between
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.windows import get_mask
from abaw_mm.structures import name_streams

WIDTH = between(1, 65_536)


class StreamFusion(BaseModule):
    """Fuse several streams: for each (N, W, D_s), together -> (N, W, C).

    The features of each stream are normalised per frame (LayerNorm) and are zero where the stream
    has no frame. Subclasses implement :meth:`fuse`.

    Args:
        in_channels (dict[str, int] | Sequence[int]): Features per frame of each stream, with the
            names of ``feature_dir`` of the dataset.
        num_streams (int, optional): Number of streams that the fusion is made for. Defaults to any
            number from 2.
        init_cfg (dict, optional): Initialization, as in mmengine's ``BaseModule``.

    Attributes:
        in_channels (dict[str, int]): Features per frame of each stream.

    Raises:
        ValueError: If the number of streams or a width is out of range.
    """

    def __init__(
        self,
        in_channels: dict | Sequence[int],
        num_streams: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = name_streams(in_channels, f'{type(self).__name__}: in_channels')
        self._check_in_channels(num_streams)
        self.norms = nn.ModuleDict({n: nn.LayerNorm(d) for n, d in self.in_channels.items()})

    def forward(
        self, inputs: Mapping[str, torch.Tensor], seen: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Fuse the streams.

        Args:
            inputs (dict[str, Tensor]): (N, W, D_s) features of each stream.
            seen (dict[str, Tensor], optional): Masks (N, W) bool, False where a stream has no
                frame. Defaults to all True.

        Returns:
            Tensor: (N, W, C), zero where no stream has a frame.

        Raises:
            ValueError: If the streams or their widths are not those of ``in_channels``.
        """
        self._check_inputs(inputs)
        masks = {
            name: get_mask(inputs[name], None if seen is None else seen[name])
            for name in self.in_channels
        }
        streams = {
            name: self.norms[name](inputs[name]) * mask[..., None] for name, mask in masks.items()
        }
        return self.fuse(streams, masks) * torch.stack(list(masks.values())).any(dim=0)[..., None]

    @abstractmethod
    def fuse(
        self, streams: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Fuse normalised streams (N, W, D_s), zero where the masks (N, W) are False."""

    def _check_in_channels(self, num_streams: int | None) -> None:
        number = len(self.in_channels)
        expected = 'at least 2' if num_streams is None else str(num_streams)
        if number < 2 or (num_streams is not None and number != num_streams):
            raise InvalidValueError(
                f'{type(self).__name__}: got in_channels of {number} streams, expected {expected}; '
                'set model.backbone.in_channels, such as dict(video=2304, audio=768)'
            )
        for name, width in self.in_channels.items():
            if type(width) is not int or not WIDTH.accepts(width):
                raise InvalidValueError(
                    f'{type(self).__name__}: got in_channels.{name}={width!r}, expected '
                    f'{WIDTH.text}; set model.backbone.in_channels.{name}'
                )

    def _check_inputs(self, inputs: Mapping[str, torch.Tensor]) -> None:
        got = (
            {name: x.shape[-1] for name, x in inputs.items()}
            if isinstance(inputs, Mapping)
            else 'one stream'
        )
        if got != self.in_channels:
            raise InvalidValueError(
                f'{type(self).__name__}: got {got}, expected features per frame of '
                f'{self.in_channels}; set feature_dir of the datasets to these streams, or '
                'model.backbone.in_channels'
            )
