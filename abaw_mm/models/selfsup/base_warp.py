"""What local warps have in common: they warp batches, or the image of a pipeline."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from abaw_mm.models.selfsup.fields import warp_images


class LocalWarp(nn.Module, ABC):
    """Base class of random local warps.

    A warp draws displacement fields in batches, each image differently. In a pipeline it warps
    ``img``.

    Attributes:
        settings (tuple[str]): Names of the arguments, which are attributes, for the log.
        uses_landmarks (bool): Whether the fields depend on where the parts of a face are.
        softening (float): The ``warp_softening`` of ``FaceViewDataPreprocessor`` that hides the
            warp's gain of fine detail, for the defaults of the warp and real faces.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    uses_landmarks: ClassVar[bool] = False
    softening: ClassVar[float] = 0.0

    @abstractmethod
    def draw(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str = 'cpu',
        generator: torch.Generator | None = None,
        landmarks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw displacement fields, (N, H, W, 2) float32 in pixels.

        Args:
            batch: Number of images, N.
            height, width: Size of the images, in pixels.
            device: Device of the fields.
            generator: Random generator of that device. Defaults to torch's global one.
            landmarks: Five points of each face (N, 5, 2), as fractions of width and height, if
                ``uses_landmarks``.
        """

    @torch.no_grad()
    def forward(
        self, images: torch.Tensor | dict, generator: torch.Generator | None = None
    ) -> torch.Tensor | dict:
        """Warp a batch, or the image of a pipeline.

        Args:
            images: Images (N, C, H, W) of any floating-point type and range, or the ``results`` of
                a pipeline.
            generator: Random generator of the images' device. Defaults to torch's global one.

        Returns:
            Tensor | dict: (N, C, H, W) without gradients, or the results with ``img`` warped.
        """
        if isinstance(images, dict):
            return self.transform(images)
        batch, _, height, width = images.shape
        # Half precision cannot distinguish neighbouring places.
        with torch.autocast(images.device.type, enabled=False):
            field = self.draw(batch, height, width, images.device, generator)
            return warp_images(images, field)

    def transform(self, results: dict) -> dict:
        """Warp ``results['img']``, (H, W, C) uint8, in a pipeline."""
        pixels = np.ascontiguousarray(results['img'])  # which a flip is not
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        warped = self(image)[0].round().to(torch.uint8)
        results['img'] = warped.permute(1, 2, 0).numpy()
        return results

    def extra_repr(self) -> str:
        """Return the arguments, for the log."""
        return ', '.join(f'{name}={getattr(self, name)}' for name in self.settings)
