"""Random local warping: change a facial expression, keep identity and pose.

A displacement field d warps an image: the new pixel p shows what was at p + d(p). The field is a
sum of bumps around random control points, multiplied by a window over the face, and scaled down
until no displacement is too long or too steep (:func:`limit_displacement`). Fields are computed in
batches on the device of the images.

The kernel, window and limits are our choice, as ContraWarping (arXiv 2303.09034) does not publish
its own; see docs/pretraining.md.
"""

import math

import torch
from mmpretrain.registry import MODELS, TRANSFORMS
from torch import nn
from torch.nn import functional as F

from abaw_mm.checks import between, check_arguments

# Bound on the difference between the displacements of neighbouring pixels, so that images do not
# fold. With the columns of the Jacobian below 1/sqrt(2) its norm is below 1, so
# |d(p) - d(q)| < |p - q|, and no triangle of pixels changes its orientation.
FOLD_LIMIT = 1 / math.sqrt(2)
MIN_MOVE = 0.5  # shortest move of a control point, as a fraction of the strength


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


def draw_control_points(
    batch: int,
    number: int,
    ellipse: tuple[float, float] | None,
    device: torch.device | str,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw control points on the face and a move for each.

    Args:
        batch: Number of images, N.
        number: Number of control points per image, K.
        ellipse: Face as in :func:`face_window`, in which points are uniformly distributed.
        device: Device of the points.
        generator: Random generator of that device. Defaults to torch's global one.

    Returns:
        tuple: Points (N, K, 2), x and y from -1 to 1 over the image, and moves (N, K, 2) with
        lengths of 0.5 to 1 in any direction.
    """
    numbers = torch.rand(batch, number, 4, generator=generator, device=device)
    first, second, turn, length = numbers.unbind(-1)
    if ellipse is None:
        points = 2 * torch.stack([first, second], -1) - 1
    else:
        points = _polar(first.sqrt(), second) * first.new_tensor(ellipse)
    return points, _polar(MIN_MOVE + (1 - MIN_MOVE) * length, turn)


def _polar(length: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Convert lengths and directions, in turns of 0-1, to x and y."""
    angle = 2 * math.pi * turn
    return torch.stack([length * angle.cos(), length * angle.sin()], -1)


def displacement_field(
    points: torch.Tensor, moves: torch.Tensor, radius: float, window: torch.Tensor
) -> torch.Tensor:
    """Sum bumps around control points and multiply by a window.

    A bump is ``(1 - (distance / radius)^2)^2`` within the radius and 0 beyond (biweight kernel).

    Args:
        points: Control points (N, K, 2), x and y from -1 to 1 over the image.
        moves: Displacements of the control points (N, K, 2), in pixels.
        radius: Radius of a bump, in pixels.
        window: Window (H, W) in 0-1.

    Returns:
        Tensor: Displacements (N, H, W, 2) float32 in pixels, x to the right, y down.
    """
    height, width = window.shape
    place = (points + 1) / 2 * points.new_tensor([width - 1, height - 1])  # in pixels
    x = torch.arange(width, device=window.device) - place[..., 0, None]  # (N, K, W)
    y = torch.arange(height, device=window.device) - place[..., 1, None]  # (N, K, H)
    distance = (y[..., None] ** 2 + x[..., None, :] ** 2) / radius**2  # (N, K, H, W), squared
    bump = (1 - distance).clamp(min=0) ** 2
    return torch.einsum('nkhw,nkc->nhwc', bump, moves) * window[..., None]


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
    length = field.norm(dim=-1).flatten(1).amax(1)
    slope = torch.maximum(
        field.diff(dim=1).norm(dim=-1).flatten(1).amax(1),
        field.diff(dim=2).norm(dim=-1).flatten(1).amax(1),
    )
    tiny = torch.finfo(field.dtype).tiny
    scale = torch.minimum(longest / length.clamp(min=tiny), steepest / slope.clamp(min=tiny))
    return field * scale.clamp(max=1)[:, None, None, None]


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


@MODELS.register_module()
@TRANSFORMS.register_module()
class RandomLocalWarp(nn.Module):
    """Warp small regions of faces at random, which changes the expression but not the identity.

    Makes the negative of ContraWarping (Sec. 3.1, Fig. 3). In a model it warps a batch, each image
    differently; in a pipeline it warps ``img``. Lengths are fractions of the shorter side of the
    image.

    Args:
        num_points (int): Control points per image. Defaults to 8.
        radius (float): Radius within which a control point moves its neighbourhood, above 0 and at
            most 1. Defaults to 0.2.
        strength (float): Longest displacement, 0 to 1; 0 leaves images unchanged. Control points
            move by at least half of it before limits apply. Defaults to 0.06.
        ellipse (tuple, optional): Horizontal and vertical half axes of the face, as fractions of
            half the width and half the height. Nothing moves outside. Landmarks are not needed for
            faces that fill their crops. None uses the whole image. Defaults to (0.85, 0.95).
        fade (float): Fraction of the way from the edge of the ellipse to its centre on which the
            displacement rises, above 0 and at most 1. Defaults to 0.3.
        max_slope (float): Maximum difference between the displacements of neighbouring pixels,
            below 1 / sqrt(2) so that nothing folds; see :func:`limit_displacement`. The slope of
            one bump is 1.54 * strength / radius, so a strength beyond 0.65 * max_slope * radius has
            no effect. Defaults to 0.5.

    Raises:
        ValueError: If an argument is out of range.

    >>> warp = RandomLocalWarp(strength=0.)
    >>> images = torch.rand(2, 3, 16, 16)
    >>> bool((warp(images) == images).all())
    True
    """

    @check_arguments(
        'model.warp',
        num_points=between(1, 1000),
        radius=between(0, 1, above=True),
        strength=between(0, 1),
        ellipse=between(0, 1, above=True),
        fade=between(0, 1, above=True),
        max_slope=between(0, FOLD_LIMIT, above=True, below=True),
    )
    def __init__(
        self,
        num_points: int = 8,
        radius: float = 0.2,
        strength: float = 0.06,
        ellipse: tuple[float, float] | None = (0.85, 0.95),
        fade: float = 0.3,
        max_slope: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_points = num_points
        self.radius = radius
        self.strength = strength
        self.ellipse = ellipse
        self.fade = fade
        self.max_slope = max_slope

    def draw(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str = 'cpu',
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draw displacement fields, (N, H, W, 2) float32 in pixels.

        Args:
            batch: Number of images, N.
            height, width: Size of the images, in pixels.
            device: Device of the fields.
            generator: Random generator of that device. Defaults to torch's global one.
        """
        side = min(height, width)
        window = face_window(height, width, self.ellipse, self.fade, device)
        points, moves = draw_control_points(batch, self.num_points, self.ellipse, device, generator)
        longest = self.strength * side
        field = displacement_field(points, longest * moves, self.radius * side, window)
        return limit_displacement(field, longest, self.max_slope)

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
        image = torch.from_numpy(results['img']).permute(2, 0, 1)[None].float()
        warped = self(image)[0].round().to(torch.uint8)
        results['img'] = warped.permute(1, 2, 0).numpy()
        return results

    def extra_repr(self) -> str:
        """Return the arguments, for the log."""
        names = ('num_points', 'radius', 'strength', 'ellipse', 'fade', 'max_slope')
        return ', '.join(f'{name}={getattr(self, name)}' for name in names)
