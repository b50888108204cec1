"""Resize, crop and normalise face crops inside an exported network."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

SCALE = 2048  # of OpenCV's weights of 8-bit images, INTER_RESIZE_COEF_SCALE


@dataclass(frozen=True)
class Preprocessing:
    """What a test pipeline does to square crops.

    Attributes:
        size (int): Side of the crops, in pixels.
        resize (int): Side to which they are resized.
        crop (int): Side of the central part that the network gets, at most ``resize``.
        mean, std (tuple[float]): Mean and standard deviation of red, green and blue, in 0-255; of
            blue, green and red without ``to_rgb``.
        to_rgb (bool): Whether the network gets RGB. False for BGR.
    """

    size: int
    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    to_rgb: bool = True


class CropInput(nn.Module):
    """Make a network's input from uint8 crops: resize, crop the centre, normalise.

    The resized pixels are those of OpenCV's bilinear ``resize`` of 8-bit images, which computes in
    integers: weights in 1/2048, a horizontal pass whose sums drop 4 bits, and a vertical pass that
    drops 16 bits of each product and rounds the sum. No mode of ONNX's ``Resize`` does that. All
    numbers here are integers below 2^24, so float32 holds them exactly on any device.

    Args:
        preprocessing (Preprocessing): What to do.

    Example:
        >>> steps = Preprocessing(112, 256, 224, (127.5,) * 3, (127.5,) * 3)
        >>> CropInput(steps)(torch.zeros(2, 112, 112, 3, dtype=torch.uint8)).shape
        torch.Size([2, 3, 224, 224])
    """

    columns: torch.Tensor
    column_weights: torch.Tensor
    rows: torch.Tensor
    row_weights: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        size, resize, crop = preprocessing.size, preprocessing.resize, preprocessing.crop
        self.start = max(0, round((resize - crop) / 2.0))
        part = slice(self.start, self.start + crop)
        columns, column_weights = find_neighbours(size, resize, clips_weights=True)
        rows, row_weights = find_neighbours(size, resize, clips_weights=False)
        # A weight and a sum would have 26 bits, so weights are split into 64 * coarse + fine.
        coarse = row_weights // 64
        split = np.stack([coarse, row_weights - 64 * coarse])  # (2, 2, resize)
        self.register_buffer('columns', torch.from_numpy(columns[:, part].copy()))
        self.register_buffer('rows', torch.from_numpy(rows[:, part].copy()))
        self.register_buffer('column_weights', torch.from_numpy(column_weights[:, part]).float())
        self.register_buffer('row_weights', torch.from_numpy(split[..., part, None]).float())
        self.register_buffer('mean', torch.tensor(preprocessing.mean).float().view(-1, 1, 1))
        self.register_buffer('std', torch.tensor(preprocessing.std).float().view(-1, 1, 1))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Map crops (N, S, S, 3) uint8 RGB to (N, 3, crop, crop) float32."""
        steps = self.preprocessing
        pixels = crops.permute(0, 3, 1, 2).float()
        if not steps.to_rgb:
            pixels = pixels.flip(1)
        if steps.resize != steps.size:
            pixels = self._resize(pixels)
        elif steps.crop != steps.size:
            end = self.start + steps.crop
            pixels = pixels[:, :, self.start : end, self.start : end]
        return (pixels - self.mean) / self.std

    def _resize(self, pixels: torch.Tensor) -> torch.Tensor:
        left, right = (pixels.index_select(3, places) for places in self.columns)
        sums = left * self.column_weights[0] + right * self.column_weights[1]
        sums = (sums / 16).floor()
        coarse, fine = self.row_weights
        total = torch.zeros(())
        for place, high, low in zip(self.rows, coarse, fine, strict=True):
            neighbour = sums.index_select(2, place)
            # floor(neighbour * weight / 2^16)
            total = total + ((neighbour * high + (neighbour * low / 64).floor()) / 1024).floor()
        return ((total + 2) / 4).floor()


def find_neighbours(size: int, resize: int, clips_weights: bool) -> tuple[np.ndarray, np.ndarray]:
    """Find the two pixels of which OpenCV's bilinear ``resize`` mixes each new pixel.

    Args:
        size (int): Pixels of the image along an axis.
        resize (int): Pixels of the resized image.
        clips_weights (bool): Whether a pixel beyond the border gets the weight 0, as OpenCV does
            along rows of the image. Along columns it only clips the place.

    Returns:
        tuple: Places (2, resize) int64 and their weights (2, resize) int64, whose sum is 2048.

    >>> find_neighbours(2, 4, clips_weights=True)[1].tolist()
    [[2048, 1536, 512, 2048], [0, 512, 1536, 0]]
    """
    scale = 1 / (resize / size)
    centre = ((np.arange(resize) + 0.5) * scale - 0.5).astype(np.float32)
    place = np.floor(centre).astype(np.int64)
    share = centre - place.astype(np.float32)
    if clips_weights:
        share[(place < 0) | (place >= size - 1)] = 0
    places = np.stack([place, place + 1]).clip(0, size - 1)
    weights = np.rint(np.stack([1 - share, share]) * np.float32(SCALE)).astype(np.int64)
    return places, weights
