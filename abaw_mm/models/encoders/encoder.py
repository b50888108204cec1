"""What all encoders have in common: how a face becomes their input."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from abaw_mm.errors import InvalidValueError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INTERPOLATIONS = ('bilinear', 'bicubic')


@dataclass(frozen=True)
class Inputs:
    """How a face becomes the input of an encoder.

    Attributes:
        size (tuple[int, int]): Height and width in pixels. Faces are resized to it, not cropped.
        mean (tuple[float, ...]): Of the red, green and blue values in 0 to 1.
        std (tuple[float, ...]): Likewise.
        interpolation (str): ``'bilinear'`` or ``'bicubic'``, with antialiasing.

    Raises:
        ValueError: If a value is out of range.
    """

    size: tuple[int, int]
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    interpolation: str = 'bilinear'

    def __post_init__(self) -> None:
        _check_inputs(self)

    def prepare(
        self, images: Sequence[np.ndarray], device: torch.device | str = 'cpu'
    ) -> torch.Tensor:
        """Resize and normalise faces; those of one size at once, on the device.

        Args:
            images: N faces, (H, W, 3) uint8 in BGR, of any size.
            device: Where to compute.

        Returns:
            Tensor: (N, 3, height, width) float32 in RGB.
        """
        if len({image.shape for image in images}) > 1:
            return torch.cat([self.prepare([image], device) for image in images])
        batch = torch.from_numpy(np.stack(images)).to(device)
        pixels = batch.flip(3).permute(0, 3, 1, 2).float()
        if pixels.shape[2:] != self.size:
            pixels = F.interpolate(
                pixels, self.size, mode=self.interpolation, antialias=True, align_corners=False
            ).clamp(0, 255)
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (self.mean, self.std))
        return (pixels / 255 - mean) / std


def _check_inputs(inputs: Inputs) -> None:
    if min(inputs.size) < 1:
        raise InvalidValueError(f'--size: got {inputs.size}, expected at least 1 pixel')
    for name, values in (('mean', inputs.mean), ('std', inputs.std)):
        if len(values) != 3 or not all(-10 < v < 10 for v in values):
            raise InvalidValueError(
                f'--{name}: got {list(values)}, expected three values of red, green and blue in 0 '
                'to 1; divide values in 0 to 255 by 255'
            )
    if min(inputs.std) <= 0:
        raise InvalidValueError(f'--std: got {list(inputs.std)}, expected values above 0')
    if inputs.interpolation not in INTERPOLATIONS:
        raise InvalidValueError(
            f'interpolation: got {inputs.interpolation!r}, expected one of '
            f'{", ".join(INTERPOLATIONS)}'
        )


class Encoder(ABC):
    """A frozen network whose weights come from a file on disk.

    Attributes:
        name (str): Name for records and messages, such as ``'timm:resnet18'``.
        layer (str): What of the network the features are.
        sha256 (str): Checksum of the file of the weights.
        inputs (Inputs): What faces are turned into.
        device (torch.device): Where inputs are prepared.
    """

    name: str
    layer: str
    sha256: str
    inputs: Inputs
    device = torch.device('cpu')

    @abstractmethod
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features (N, D), or maps (N, D, H, W), of inputs (N, 3, H, W)."""


def pool_features(features: torch.Tensor, name: str) -> torch.Tensor:
    """Average maps (N, D, H, W) over space to (N, D) float32; (N, D) passes.

    Raises:
        ValueError: If the shape is another one.

    >>> pool_features(torch.ones(2, 5, 7, 7), 'timm:resnet18').shape
    torch.Size([2, 5])
    """
    if features.dim() not in (2, 4):
        raise InvalidValueError(
            f'{name}: got features of shape {tuple(features.shape)}, expected one row per face or '
            'a map; choose another output (--output)'
        )
    return features.float().flatten(2).mean(2) if features.dim() == 4 else features.float()
