"""Average the features of a face over scales and its mirror image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.runner import autocast

from abaw_mm.errors import InvalidValueError
from abaw_mm.models.encoders.encoder import Encoder, pool_features


class ViewAverage:
    """Mean of an encoder's features over views of a face.

    Args:
        encoder (Encoder): The encoder.
        scales (Sequence[float]): Sides of the centred squares to look at, as parts of the picture's
            sides. Defaults to the whole picture.
        mirror (bool): Whether to include the mirror image of each view.
        amp (bool): Automatic mixed precision.

    Attributes:
        meta (dict): Settings, for the record in a feature folder.

    Raises:
        ValueError: If a scale is not in 0.1 to 1, or is repeated.
    """

    def __init__(
        self,
        encoder: Encoder,
        scales: Sequence[float] = (1.0,),
        mirror: bool = False,
        amp: bool = False,
    ) -> None:
        _check_scales(scales)
        self.encoder = encoder
        self.scales = list(scales)
        self.mirror = mirror
        self.amp = amp
        inputs = encoder.inputs
        self.meta: dict[str, Any] = dict(
            encoder=encoder.name,
            size=list(inputs.size),
            mean=list(inputs.mean),
            std=list(inputs.std),
            interpolation=inputs.interpolation,
            scales=self.scales,
            mirror=mirror,
        )

    @torch.no_grad()
    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the features (N, D), float32.

        Args:
            images: N faces, (H, W, 3) uint8 in BGR, of any size.
        """
        total, views = torch.zeros(()), 0
        for scale in self.scales:
            crops = [crop_centre(image, scale) for image in images]
            pixels = self.encoder.inputs.prepare(crops, self.encoder.device)
            for view in [pixels, pixels.flip(3)] if self.mirror else [pixels]:
                with autocast(enabled=self.amp):
                    features = self.encoder.encode(view)
                total = total + pool_features(features, self.encoder.name).cpu()
                views += 1
        return (total / views).numpy()


def crop_centre(image: np.ndarray, scale: float) -> np.ndarray:
    """Crop the centred part of a picture whose sides are ``scale`` of the picture's.

    >>> crop_centre(np.zeros((112, 112, 3), np.uint8), 0.8).shape
    (90, 90, 3)
    """
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _check_scales(scales: Sequence[float]) -> None:
    if not scales or not all(0.1 <= s <= 1 for s in scales) or len(set(scales)) < len(scales):
        raise InvalidValueError(
            f'--scales: got {list(scales)}, expected different values in 0.1 to 1, such as 1 0.9'
        )
