"""Random crops of a whole batch, where the model is: the arithmetic."""

import math

import cv2
import numpy as np
import torch
from torch.nn import functional as F

MAX_ATTEMPTS = 10  # as mmpretrain's RandomResizedCrop; of ratio 1 the first always fits


def random_resized_boxes(
    numbers: np.ndarray,
    height: int,
    width: int,
    crop_ratio_range: tuple[float, float],
    aspect_ratio_range: tuple[float, float],
) -> np.ndarray:
    """Boxes distributed as those of mmpretrain's ``RandomResizedCrop``.

    Args:
        numbers: (N, 4 * MAX_ATTEMPTS) in [0, 1).
        height, width: Of the images, in pixels.
        crop_ratio_range: Share of the area that a box covers.
        aspect_ratio_range: Width over height.

    Returns:
        ndarray: (N, 4) int64: left, top, width, height.
    """
    area, log_aspect, left, top = numbers.reshape(len(numbers), MAX_ATTEMPTS, 4).transpose(2, 0, 1)
    low, high = crop_ratio_range
    area = (low + (high - low) * area) * (height * width)
    low, high = map(math.log, aspect_ratio_range)
    aspect = np.exp(low + (high - low) * log_aspect)
    # np.rint rounds half to even, as Python's round does.
    box_width = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    box_height = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (box_width > 0) & (box_width <= width) & (box_height > 0) & (box_height <= height)
    boxes = np.stack(
        [
            np.floor(left * (width - box_width + 1)),
            np.floor(top * (height - box_height + 1)),
            box_width,
            box_height,
        ],
        axis=-1,
    ).astype(np.int64)
    boxes = boxes[np.arange(len(boxes)), fits.argmax(1)]  # the first attempt that fits
    boxes[~fits.any(1)] = _central_box(height, width, aspect_ratio_range)
    return boxes


def _central_box(height: int, width: int, aspect_ratio_range: tuple[float, float]) -> list[int]:
    """The fall-back of ``RandomResizedCrop``."""
    aspect = min(max(width / height, min(aspect_ratio_range)), max(aspect_ratio_range))
    box_width, box_height = width, height
    if width / height < aspect:
        box_height = round(width / aspect)
    elif width / height > aspect:
        box_width = round(height * aspect)
    return [(width - box_width) // 2, (height - box_height) // 2, box_width, box_height]


def crop_and_resize(
    images: torch.Tensor, boxes: np.ndarray, flip: np.ndarray, size: tuple[int, int]
) -> torch.Tensor:
    """Cut a box out of each image, resize it bilinearly, mirror some.

    A pixel's value is that of OpenCV's ``resize`` of the cut-out; on the CPU, where ``grid_sample``
    is slow, OpenCV does it.

    Args:
        images: (N, H, W, 3) uint8.
        boxes: (N, 4) left, top, width, height in pixels.
        flip: (N, ) bool, which to mirror.
        size: Height and width of the result.

    Returns:
        Tensor: (N, 3, height, width) float32, 0-255, in channels_last.
    """
    if images.is_cuda:
        return crop_and_resize_by_grid(images, boxes, flip, size)
    out = np.empty((len(images), *size, 3), np.uint8)
    boxes = boxes.tolist()
    for row, image in enumerate(images.numpy()):
        left, top, width, height = boxes[row]
        cut = image[top : top + height, left : left + width]
        resized = cv2.resize(cut, size[::-1], interpolation=cv2.INTER_LINEAR)
        out[row] = resized[:, ::-1] if flip[row] else resized
    return torch.from_numpy(out).permute(0, 3, 1, 2).float()


def crop_and_resize_by_grid(
    images: torch.Tensor, boxes: np.ndarray, flip: np.ndarray, size: tuple[int, int]
) -> torch.Tensor:
    """:func:`crop_and_resize` by ``grid_sample``, for a GPU; a pixel differs by 1 at the most."""
    batch, device = len(images), images.device
    height, width = images.shape[1:3]
    # Bounds travel in one go; the rest is made on the device.
    table = np.concatenate([boxes, flip[:, None]], axis=1).astype(np.float32)
    table = torch.from_numpy(table).to(device, non_blocking=True)
    left, top, box_width, box_height, mirrored = table[:, :, None].unbind(1)  # (N, 1) each

    def samples(start: torch.Tensor, length: torch.Tensor, number: int) -> torch.Tensor:
        """(N, number) places in pixels: centres of the new pixels, within the box's own ones."""
        steps = (torch.arange(number, device=device) + 0.5) / number
        return start + (steps * length - 0.5).clamp(min=0).minimum(length - 1)

    x = samples(left, box_width, size[1])
    x = torch.where(mirrored.bool(), x.flip(1), x)
    y = samples(top, box_height, size[0])
    # Pixel centres lie at (2i + 1) / size - 1 for align_corners=False.
    grid = torch.stack(
        [
            ((2 * x + 1) / width - 1)[:, None, :].expand(batch, *size),
            ((2 * y + 1) / height - 1)[:, :, None].expand(batch, *size),
        ],
        dim=-1,
    )
    pixels = images.permute(0, 3, 1, 2).float()  # channels_last, as the bytes lie
    return F.grid_sample(
        pixels, grid, mode='bilinear', padding_mode='border', align_corners=False
    ).contiguous(memory_format=torch.channels_last)
