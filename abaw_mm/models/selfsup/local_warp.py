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

from abaw_mm.checks import between, check_arguments
from abaw_mm.models.selfsup.base_warp import LocalWarp
from abaw_mm.models.selfsup.fields import FOLD_LIMIT, face_window, limit_displacement

MIN_MOVE = 0.5  # shortest move of a control point, as a fraction of the strength


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


@MODELS.register_module()
@TRANSFORMS.register_module()
class RandomLocalWarp(LocalWarp):
    """Warp small regions of faces at random, which changes the expression but not the identity.

    Makes the negative of ContraWarping (Sec. 3.1, Fig. 3), see ``FaceViewDataPreprocessor``. In a
    pipeline it warps ``img``. Lengths are fractions of the shorter side of the image.

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

    softening = 0.015
    settings = ('num_points', 'radius', 'strength', 'ellipse', 'fade', 'max_slope')

    @check_arguments(
        'data_preprocessor.warp',
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
        landmarks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw displacement fields, see :meth:`LocalWarp.draw`."""
        side = min(height, width)
        window = face_window(height, width, self.ellipse, self.fade, device)
        points, moves = draw_control_points(batch, self.num_points, self.ellipse, device, generator)
        longest = self.strength * side
        field = displacement_field(points, longest * moves, self.radius * side, window)
        return limit_displacement(field, longest, self.max_slope)
