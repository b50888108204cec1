"""Crop, flip and resize a whole batch on the model's device."""

import math

import cv2
import numpy as np
import torch
from torch.nn import functional as F

MAX_ATTEMPTS = 10  # as in mmpretrain's RandomResizedCrop


def random_resized_boxes(
    numbers: np.ndarray,
    height: int,
    width: int,
    crop_ratio_range: tuple[float, float],
    aspect_ratio_range: tuple[float, float],
) -> np.ndarray:
    """Draw boxes with the distribution of mmpretrain's ``RandomResizedCrop``.

    Args:
        numbers: Random numbers in [0, 1), (N, 4 * MAX_ATTEMPTS).
        height, width: Size of the images, in pixels.
        crop_ratio_range: Range of the area of a box, as a fraction of the image.
        aspect_ratio_range: Range of width / height.

    Returns:
        ndarray: Left, top, width and height of each box, (N, 4) int64.
    """
    area, log_aspect, left, top = numbers.reshape(len(numbers), MAX_ATTEMPTS, 4).transpose(2, 0, 1)
    low, high = crop_ratio_range
    area = (low + (high - low) * area) * (height * width)
    low, high = map(math.log, aspect_ratio_range)
    aspect = np.exp(low + (high - low) * log_aspect)
    # np.rint rounds half to even, like Python's round.
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
    boxes[~fits.any(1)] = _fallback_box(height, width, aspect_ratio_range)
    return boxes


def _fallback_box(height: int, width: int, aspect_ratio_range: tuple[float, float]) -> list[int]:
    """Return the central box that ``RandomResizedCrop`` uses if no attempt fits."""
    aspect = min(max(width / height, min(aspect_ratio_range)), max(aspect_ratio_range))
    box_width, box_height = width, height
    if width / height < aspect:
        box_height = round(width / aspect)
    elif width / height > aspect:
        box_width = round(height * aspect)
    return [(width - box_width) // 2, (height - box_height) // 2, box_width, box_height]


def crop_and_resize_by_opencv(
    images: torch.Tensor,
    boxes: np.ndarray,
    flip: np.ndarray,
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    mean: torch.Tensor,
    std: torch.Tensor,
    to_rgb: bool,
) -> torch.Tensor:
    """Crop a box of each image, resize, flip and normalise it, on the CPU.

    Images are bytes until the end, one at a time, so that all steps of an image run in the cache.
    ``grid_sample`` is slow on the CPU.

    Args:
        images: (N, H, W, 3) uint8.
        boxes: Left, top, width and height in pixels, (N, 4).
        flip: Whether to flip each image, (N, ) bool.
        size: Height and width of the resized box, in pixels.
        window: Top, left, height and width of the part of the resized box to keep, in pixels.
        mean, std: Of each channel of the result, in 0-255, 3 or 1 numbers.
        to_rgb: Whether to reverse the channels.

    Returns:
        Tensor: (N, 3, height, width) float32, channels_last.
    """
    top, left, height, width = window
    out = torch.from_numpy(np.empty((len(images), height, width * 3), np.float32))
    # Rows of an image, since a loop over three channels is slow.
    mean, std = (values.flatten().expand(3).repeat(width) for values in (mean, std))
    for image, box, is_flipped, row in zip(
        images.numpy(), boxes.tolist(), flip.tolist(), out, strict=True
    ):
        x, y, box_width, box_height = box
        cut = image[y : y + box_height, x : x + box_width]
        if to_rgb:
            cut = cv2.cvtColor(cut, cv2.COLOR_BGR2RGB)
        resized = cv2.resize(cut, size[::-1], interpolation=cv2.INTER_LINEAR)
        if is_flipped:
            resized = cv2.flip(resized, 1)
        kept = np.ascontiguousarray(resized[top : top + height, left : left + width])
        torch.sub(torch.from_numpy(kept).view(height, -1), mean, out=row).div_(std)
    return out.view(len(images), height, width, 3).permute(0, 3, 1, 2)


def crop_and_resize_by_grid(
    images: torch.Tensor, boxes: np.ndarray, flip: np.ndarray, size: tuple[int, int]
) -> torch.Tensor:
    """Crop a box of each image, resize it bilinearly and flip it horizontally if requested.

    Pixels differ by at most 1 from those of OpenCV's ``resize``, which rounds.

    Args:
        images: (N, H, W, 3) uint8.
        boxes: Left, top, width and height in pixels, (N, 4).
        flip: Whether to flip each image, (N, ) bool.
        size: Height and width of the result, in pixels.

    Returns:
        Tensor: (N, 3, height, width) float32 in 0-255, channels_last.
    """
    batch, device = len(images), images.device
    height, width = images.shape[1:3]
    # One copy to the device for all bounds.
    bounds = torch.from_numpy(np.concatenate([boxes, flip[:, None]], axis=1).astype(np.float32))
    if device.type == 'cuda':
        bounds = bounds.pin_memory()  # a copy from other memory may wait for the device
    table = bounds.to(device, non_blocking=True)
    left, top, box_width, box_height, flipped = table[:, :, None].unbind(1)  # (N, 1) each

    def sample_places(start: torch.Tensor, length: torch.Tensor, number: int) -> torch.Tensor:
        """Return the centres of the new pixels (N, number), clamped to the box, in pixels."""
        steps = (torch.arange(number, device=device) + 0.5) / number
        return start + (steps * length - 0.5).clamp(min=0).minimum(length - 1)

    x = sample_places(left, box_width, size[1])
    x = torch.where(flipped.bool(), x.flip(1), x)
    y = sample_places(top, box_height, size[0])
    # With align_corners=False, pixel i is centred at (2i + 1) / size - 1.
    grid = torch.stack(
        [
            ((2 * x + 1) / width - 1)[:, None, :].expand(batch, *size),
            ((2 * y + 1) / height - 1)[:, :, None].expand(batch, *size),
        ],
        dim=-1,
    )
    pixels = images.permute(0, 3, 1, 2).float()  # a view in channels_last
    return F.grid_sample(
        pixels, grid, mode='bilinear', padding_mode='border', align_corners=False
    ).contiguous(memory_format=torch.channels_last)
