"""Move small regions of faces about, as muscles do, and nothing else: random local warping.

An image is warped by a displacement field: the new pixel p shows what was at p + d(p). The field is
a sum of bumps around random control points, multiplied by a window over the face, and shrunk until
it is short and flat enough (:func:`limit_displacement`). All of it is made where the images are, a
batch at a time.

How ContraWarping (arXiv 2303.09034) draws its warps is not public here: kernel, window and limits
are our choice; see docs/pretraining.md.
"""

import math

import torch
from mmpretrain.registry import MODELS, TRANSFORMS
from torch import nn
from torch.nn import functional as F

# Neighbouring pixels' displacements differ by less than this, or the picture might fold over
# itself. With the Jacobian's columns below 1/sqrt(2) its norm is below 1, so |d(p) - d(q)| is less
# than |p - q|, and no two pixels of a triangle change sides.
FOLD_LIMIT = 1 / math.sqrt(2)
SHORTEST = 0.5  # a control point moves by this share of the strength at least


def face_window(
    height: int,
    width: int,
    ellipse: tuple[float, float] | None,
    fade: float,
    device: torch.device | str = 'cpu',
) -> torch.Tensor:
    """1 inside, 0 at the border of the image and outside an ellipse, smooth in between.

    Args:
        height, width: Of the images, in pixels.
        ellipse: Half axes across and down, as shares (0-1) of half the width and half the height,
            around the middle; None for the whole image.
        fade: Share of the way from the edge to the middle on which it rises from 0 to 1.
        device: Where to make it.

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
    """Control points all over the face, and where each moves.

    Args:
        batch: Number N of images.
        number: Number K of points of each.
        ellipse: As in :func:`face_window`; points are drawn evenly in it.
        device: Where to make them.
        generator: Of that device. Defaults to torch's own.

    Returns:
        tuple: Points (N, K, 2), x and y from -1 to 1 over the image, and moves (N, K, 2) of length
        0.5 to 1 in any direction.
    """
    numbers = torch.rand(batch, number, 4, generator=generator, device=device)
    first, second, turn, length = numbers.unbind(-1)
    if ellipse is None:
        points = 2 * torch.stack([first, second], -1) - 1
    else:
        points = _polar(first.sqrt(), second) * first.new_tensor(ellipse)
    return points, _polar(SHORTEST + (1 - SHORTEST) * length, turn)


def _polar(length: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """x and y of vectors with a length and a direction, in turns of 0-1."""
    angle = 2 * math.pi * turn
    return torch.stack([length * angle.cos(), length * angle.sin()], -1)


def displacement_field(
    points: torch.Tensor, moves: torch.Tensor, radius: float, window: torch.Tensor
) -> torch.Tensor:
    """Sum of bumps around control points, within a window.

    A bump is ``(1 - (distance / radius)^2)^2`` within the radius and 0 beyond (the biweight
    kernel): smooth, and exactly 0 away from its point.

    Args:
        points: (N, K, 2), x and y from -1 to 1 over the image.
        moves: (N, K, 2) in pixels.
        radius: Of a bump, in pixels.
        window: (H, W) in 0-1.

    Returns:
        Tensor: (N, H, W, 2) float32, in pixels: x to the right, y down.
    """
    height, width = window.shape
    place = (points + 1) / 2 * points.new_tensor([width - 1, height - 1])  # in pixels
    x = torch.arange(width, device=window.device) - place[..., 0, None]  # (N, K, W)
    y = torch.arange(height, device=window.device) - place[..., 1, None]  # (N, K, H)
    distance = (y[..., None] ** 2 + x[..., None, :] ** 2) / radius**2  # (N, K, H, W), squared
    bump = (1 - distance).clamp(min=0) ** 2
    return torch.einsum('nkhw,nkc->nhwc', bump, moves) * window[..., None]


def limit_displacement(field: torch.Tensor, longest: float, steepest: float) -> torch.Tensor:
    """Shrink each image's field as a whole until it is short and flat enough.

    Bumps that overlap add up, so what was drawn may be longer and steeper than one bump. With
    ``steepest`` below :data:`FOLD_LIMIT` nothing folds: the determinant of the Jacobian of
    p -> p + d(p) is at least ``(1 - sqrt(2) * steepest)^2``, everywhere.

    Args:
        field: (N, H, W, 2) in pixels.
        longest: Longest displacement allowed, in pixels.
        steepest: Largest difference of the displacements of neighbours, in pixels a pixel.

    Returns:
        Tensor: (N, H, W, 2).
    """
    length = field.norm(dim=-1).flatten(1).amax(1)
    slope = torch.maximum(
        field.diff(dim=1).norm(dim=-1).flatten(1).amax(1),
        field.diff(dim=2).norm(dim=-1).flatten(1).amax(1),
    )
    tiny = torch.finfo(field.dtype).tiny
    share = torch.minimum(longest / length.clamp(min=tiny), steepest / slope.clamp(min=tiny))
    return field * share.clamp(max=1)[:, None, None, None]


def jacobian_determinants(field: torch.Tensor) -> torch.Tensor:
    """How much each triangle of pixels grows, (N, 2, H - 1, W - 1): below 0 where it folds over.

    Each square of four neighbouring pixels is cut into an upper left and a lower right triangle;
    within a triangle the field is linear, and its determinant exact.

    Args:
        field: (N, H, W, 2) displacements in pixels.
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
    """Show at each pixel p what was at p + d(p); where d(p) is 0 the pixel stays as it was.

    Args:
        images: (N, C, H, W), any floating type.
        field: (N, H, W, 2) in pixels.

    Returns:
        Tensor: (N, C, H, W) of the images' type.
    """
    height, width = images.shape[2:]
    y = torch.arange(height, device=field.device)[:, None].expand(height, width)
    x = torch.arange(width, device=field.device).expand(height, width)
    size = field.new_tensor([width, height])
    # Pixel centres lie at (2i + 1) / size - 1 for align_corners=False.
    grid = (2 * (torch.stack([x, y], -1) + field) + 1) / size - 1
    warped = F.grid_sample(
        images.float(), grid, mode='bilinear', padding_mode='border', align_corners=False
    ).to(images.dtype)
    still = (field == 0).all(-1)[:, None]
    return torch.where(still, images, warped)  # grid_sample rounds even where nothing moves


@MODELS.register_module()
@TRANSFORMS.register_module()
class RandomLocalWarp(nn.Module):
    """Move facial muscles at random: the expression changes, identity and pose stay.

    The negative of ContraWarping (Sec. 3.1, Fig. 3). As a part of a model it warps a batch, each
    image in its own way; as a transform of a pipeline it warps ``img``. Lengths are shares of the
    image's shorter side, so that they fit any size.

    Args:
        num_points (int): Control points of an image. Defaults to 8.
        radius (float): How far a control point takes its neighbourhood along. Defaults to 0.2.
        strength (float): Longest displacement; 0 leaves images as they are. Control points are
            drawn to move by half of it at least. Defaults to 0.06.
        ellipse (tuple, optional): Half axes of the face, across and down, as shares of half the
            width and half the height; no landmarks are needed for faces that fill their crops.
            Nothing moves outside. None for the whole image. Defaults to (0.85, 0.95).
        fade (float): Share of the way from the edge of the ellipse to its middle on which the
            displacement rises. Defaults to 0.3.
        max_slope (float): Largest difference of the displacements of neighbouring pixels, below
            1 / sqrt(2), so that nothing folds; see :func:`limit_displacement`. One bump's is
            1.54 * strength / radius, so a strength beyond 0.65 * max_slope * radius has no effect.
            Defaults to 0.5.

    Raises:
        ValueError: For arguments out of range.

    >>> warp = RandomLocalWarp(strength=0.)
    >>> images = torch.rand(2, 3, 16, 16)
    >>> bool((warp(images) == images).all())
    True
    """

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
        share = 'a share of the shorter side'
        for name, value, fits, expected in (
            ('num_points', num_points, num_points >= 1, 'at least 1'),
            ('radius', radius, 0 < radius <= 1, f'{share}, 0 < radius <= 1'),
            ('strength', strength, 0 <= strength <= 1, f'{share}, 0 to 1'),
            (
                'ellipse',
                ellipse,
                ellipse is None or (len(ellipse) == 2 and all(0 < axis <= 1 for axis in ellipse)),
                'None or two shares, 0 < share <= 1',
            ),
            ('fade', fade, 0 < fade <= 1, '0 < fade <= 1'),
            (
                'max_slope',
                max_slope,
                0 < max_slope < FOLD_LIMIT,
                '0 < max_slope < 0.707, or faces fold',
            ),
        ):
            if not fits:
                raise ValueError(
                    f'RandomLocalWarp: got {name}={value!r}, expected {expected}; set {name} of '
                    f'the warp (model.warp.{name})'
                )
        self.num_points = num_points
        self.radius = radius
        self.strength = strength
        self.ellipse = None if ellipse is None else tuple(ellipse)
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
        """Displacement fields, (N, H, W, 2) float32 in pixels.

        Args:
            batch: Number N of images.
            height, width: Of the images, in pixels.
            device: Where to make them.
            generator: Of that device. Defaults to torch's own.
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
        """Warp a batch.

        Args:
            images: (N, C, H, W), any floating type and range; or the ``results`` of a pipeline.
            generator: Of the images' device. Defaults to torch's own.

        Returns:
            Tensor: (N, C, H, W), without gradients; or the results with ``img`` warped.
        """
        if isinstance(images, dict):
            return self.transform(images)
        # Half precision cannot tell neighbouring places apart.
        with torch.autocast(images.device.type, enabled=False):
            field = self.draw(len(images), *images.shape[2:], images.device, generator)
            return warp_images(images, field)

    def transform(self, results: dict) -> dict:
        """Warp ``results['img']``, (H, W, C) uint8, in a pipeline."""
        image = torch.from_numpy(results['img']).permute(2, 0, 1)[None].float()
        warped = self(image)[0].round().to(torch.uint8)
        results['img'] = warped.permute(1, 2, 0).numpy()
        return results

    def extra_repr(self) -> str:
        """Settings, for the log."""
        names = ('num_points', 'radius', 'strength', 'ellipse', 'fade', 'max_slope')
        return ', '.join(f'{name}={getattr(self, name)}' for name in names)
