"""Area interpolation of many regions of pictures at once."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch


class AreaSums:
    """Pictures as summed-area tables, from which any region is resized in a few operations.

    The result is that of ``torch.nn.functional.interpolate(mode='area')`` on each region: the mean
    of the pixels that an output pixel touches. A table makes its cost independent of the size of
    the region.

    Args:
        images (Sequence[ndarray]): (H, W, 3) uint8 each, all of one size.
        device (torch.device): Device of the results.

    Example:
        >>> sums = AreaSums([np.arange(12, dtype=np.uint8).reshape(2, 2, 3)], 'cpu')
        >>> sums.resize(1, 1)[0, :, 0, 0].tolist()
        [4.5, 5.5, 6.5]
    """

    def __init__(self, images: Sequence[np.ndarray], device: torch.device | str) -> None:
        self.height, self.width = images[0].shape[:2]
        # int32 may overflow in a table, but the difference that gives a region's sum does not.
        tables = np.stack([cv2.integral(np.ascontiguousarray(image)) for image in images])
        self._tables = torch.from_numpy(tables).to(device)  # (B, H + 1, W + 1, 3)

    def resize(self, height: int, width: int) -> torch.Tensor:
        """Resize whole pictures.

        Returns:
            Tensor: (B, 3, height, width) float32, 0 to 255.
        """
        top, bottom = self._windows(0, self.height, height)
        left, right = self._windows(0, self.width, width)
        rows = self._tables.index_select(1, bottom) - self._tables.index_select(1, top)
        sums = rows.index_select(2, right) - rows.index_select(2, left)
        area = (bottom - top)[:, None] * (right - left)
        return (sums / area[..., None]).permute(0, 3, 1, 2)

    def crop(self, image: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
        """Crop regions and resize them to squares.

        Args:
            image (Tensor): (N,) int64, number of the picture of each region.
            boxes (Tensor): (N, 4) int64 left, top, right and bottom within the picture, not empty.
            size (int): Height and width of the results.

        Returns:
            Tensor: (N, 3, size, size) float32, 0 to 255.
        """
        left, right = self._windows(boxes[:, :1], (boxes[:, 2] - boxes[:, 0])[:, None], size)
        top, bottom = self._windows(boxes[:, 1:2], (boxes[:, 3] - boxes[:, 1])[:, None], size)
        table = self._tables.flatten(0, 2)
        first = image[:, None] * (self.height + 1)

        def take(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            rows = (first + y)[:, :, None] * (self.width + 1) + x[:, None, :]
            return table.index_select(0, rows.flatten())

        sums = take(bottom, right) - take(bottom, left) - take(top, right) + take(top, left)
        area = (bottom - top)[:, :, None] * (right - left)[:, None, :]
        crops = sums.view(-1, size, size, 3) / area[..., None]
        return crops.permute(0, 3, 1, 2)

    def _windows(
        self, start: int | torch.Tensor, length: int | torch.Tensor, size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the first pixel of each of ``size`` windows and the one after its last."""
        i = torch.arange(size, device=self._tables.device)
        return start + i * length // size, start + ((i + 1) * length + size - 1) // size
