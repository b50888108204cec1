"""Displacement fields: windows, limits and the warp of images.

A field (N, H, W, 2) holds a displacement d per pixel, in pixels: the new pixel p shows what was at
p + d(p).
"""

import math

import torch
from torch.nn import functional as F

# Bound on the difference between the displacements of neighbouring pixels, so that images do not
# fold. With the columns of the Jacobian below 1/sqrt(2) its norm is below 1, so
# |d(p) - d(q)| < |p - q|, and no triangle of pixels changes its orientation.
FOLD_LIMIT = 1 / math.sqrt(2)


def face_window(
    height: int,
    width: int,
    ellipse: tuple[float, float] | None,
    fade: float,
    device: torch.device | str = 'cpu',
) -> torch.Tensor:
    """Make a window that is 1 inside the face and falls smoothly to 0 at its edge.

    Args:
        height, width: Size of the images, in pixels.
        ellipse: Horizontal and vertical half axes of the face, as fractions (0-1) of half the width
            and half the height; None for the whole image.
        fade: Fraction of the way from the edge to the centre on which the window rises to 1.
        device: Device of the window.

    Returns:
        Tensor: (H, W) float32 in 0-1.

    >>> face_window(5, 5, None, 0.5)[2]
    tensor([0., 1., 1., 1., 0.])
    """
    y = torch.linspace(-1, 1, height, device=device)[:, None]
    x = torch.linspace(-1, 1, width, device=device)
    if ellipse is None:
        depth = 1 - torch.maximum(x.abs(), y.abs())
    else:
        depth = 1 - ((x / ellipse[0]) ** 2 + (y / ellipse[1]) ** 2).sqrt()
    rise = (depth / fade).clamp(0, 1)
    return rise * rise * (3 - 2 * rise)


def limit_displacement(field: torch.Tensor, longest: float, steepest: float) -> torch.Tensor:
    """Scale down the field of each image until its displacements and slopes are within limits.

    Overlapping bumps add up, so a field can be longer and steeper than a single bump. Nothing folds
    if ``steepest`` is below :data:`FOLD_LIMIT`: the determinant of the Jacobian of p -> p + d(p) is
    at least ``(1 - sqrt(2) * steepest)^2`` everywhere.

    Args:
        field: Displacements (N, H, W, 2), in pixels.
        longest: Maximum length of a displacement, in pixels.
        steepest: Maximum difference between the displacements of neighbouring pixels, in pixels.

    Returns:
        Tensor: (N, H, W, 2).
    """
    length = _longest(field)
    slope = torch.maximum(_longest(field.diff(dim=1)), _longest(field.diff(dim=2)))
    tiny = torch.finfo(field.dtype).tiny
    scale = torch.minimum(longest / length.clamp(min=tiny), steepest / slope.clamp(min=tiny))
    return field * scale.clamp(max=1)[:, None, None, None]


def _longest(field: torch.Tensor) -> torch.Tensor:
    # Not Tensor.norm, which is slow where the two numbers are not neighbours in memory.
    return field.square().sum(-1).flatten(1).amax(1).sqrt()


def jacobian_determinants(field: torch.Tensor) -> torch.Tensor:
    """Compute the Jacobian determinant of p -> p + d(p) on each triangle of pixels.

    Each square of four neighbouring pixels is split into an upper left and a lower right triangle.
    The field is linear within a triangle, so its determinant is exact.

    Args:
        field: Displacements (N, H, W, 2), in pixels.

    Returns:
        Tensor: (N, 2, H - 1, W - 1), negative where the image folds.
    """
    across, down = field.diff(dim=2), field.diff(dim=1)
    pairs = (
        (across[:, :-1], down[:, :, :-1]),  # from the upper left corner
        (across[:, 1:], down[:, :, 1:]),  # from the lower right corner
    )
    return torch.stack(
        [(1 + dx[..., 0]) * (1 + dy[..., 1]) - dx[..., 1] * dy[..., 0] for dx, dy in pairs], dim=1
    )


def warp_images(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Warp images: the new pixel p shows what was at p + d(p).

    Pixels without displacement keep their exact value.

    Args:
        images: (N, C, H, W) of any floating-point type.
        field: Displacements (N, H, W, 2), in pixels.

    Returns:
        Tensor: (N, C, H, W) of the type of the images.
    """
    height, width = images.shape[2:]
    y = torch.arange(height, device=field.device)[:, None].expand(height, width)
    x = torch.arange(width, device=field.device).expand(height, width)
    size = field.new_tensor([width, height])
    # With align_corners=False, pixel i is centred at (2i + 1) / size - 1.
    grid = (2 * (torch.stack([x, y], -1) + field) + 1) / size - 1
    warped = F.grid_sample(
        images.float(), grid, mode='bilinear', padding_mode='border', align_corners=False
    ).to(images.dtype)
    still = (field == 0).all(-1)[:, None]
    return torch.where(still, images, warped)  # grid_sample rounds unmoved pixels, too
