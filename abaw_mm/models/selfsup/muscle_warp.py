"""Random local warping along the directions in which the muscles of a face move it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmpretrain.registry import MODELS, TRANSFORMS

from abaw_mm.checks import between, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.selfsup.base_warp import LocalWarp
from abaw_mm.models.selfsup.fields import FOLD_LIMIT, face_window, limit_displacement
from abaw_mm.models.selfsup.local_warp import MIN_MOVE

# Left eye, right eye, nose, left and right corner of the mouth in a crop of ArcFace's alignment
# (Deng et al., 2019), as fractions of width and height.
POINTS = ((0.3419, 0.4616), (0.6565, 0.4598), (0.5002, 0.6405), (0.3710, 0.8247), (0.6315, 0.8232))


@dataclass(frozen=True)
class Action:
    """A movement of parts of a face, after Ekman and Friesen's Facial Action Coding System.

    Places and directions are those of the right half of the image; the left half mirrors them. They
    are in face units: x from the middle between the eyes, in distances between the eyes; y from the
    line of the eyes, in distances between eyes and mouth, downwards.

    Attributes:
        name (str): Name.
        places (tuple): Places (x, y) that move.
        moves (tuple): Displacement of each place, 1 for the strength of the warp.
        radius (float): Radius of each bump, as a fraction of the side of the image.
        both_ways (bool): Whether the opposite movement exists, too.
    """

    name: str
    places: tuple[tuple[float, float], ...]
    moves: tuple[tuple[float, float], ...]
    radius: float
    both_ways: bool


ACTIONS = (
    Action('inner brow', ((0.22, -0.4),), ((0, -1),), 0.256, True),
    Action('outer brow', ((0.72, -0.42),), ((0, -1),), 0.288, True),
    Action('brows together', ((0.25, -0.38),), ((-0.7, 0.4),), 0.256, False),
    Action('upper lid', ((0.5, -0.1),), ((0, -0.55),), 0.192, True),
    Action('lower lid', ((0.5, 0.16),), ((0, -0.5),), 0.192, False),
    Action('nose wing', ((0.24, 0.52),), ((0.3, -0.6),), 0.224, False),
    Action(
        'mouth corner up', ((0.42, 0.98), (0.55, 0.6)), ((0.6, -0.9), (0.1, -0.5)), 0.288, False
    ),
    Action('mouth corner down', ((0.42, 1.02),), ((0.1, 1),), 0.288, False),
    Action('mouth corner out', ((0.42, 1.0),), ((1, 0),), 0.288, True),
    Action('upper lip', ((0.1, 0.9),), ((0, -0.8),), 0.224, True),
    Action('lower lip', ((0.1, 1.12), (0.12, 1.4)), ((0, 0.9), (0, 0.6)), 0.272, True),
)


def draw_actions(
    batch: int,
    prob: float,
    coupling: float,
    device: torch.device | str,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draw how far each action moves either half of the face.

    Args:
        batch: Number of faces, N.
        prob: Probability of an action. Every face has at least one.
        coupling: Probability that both halves do the same; otherwise one of them does not move.
        device: Device.
        generator: Random generator of that device. Defaults to torch's global one.

    Returns:
        Tensor: (N, A, 2) for right and left half: 0, or 0.5 to 1, negative for the opposite way.
    """
    numbers = torch.rand(5, batch, len(ACTIONS), generator=generator, device=device)
    active = (numbers[0] < prob) | (numbers[0] == numbers[0].amin(1, keepdim=True))
    amount = (MIN_MOVE + (1 - MIN_MOVE) * numbers[1]) * active
    both_ways = torch.tensor([action.both_ways for action in ACTIONS], device=device)
    amount = torch.where(both_ways & (numbers[2] < 0.5), -amount, amount)
    alone = numbers[3] >= coupling
    right = numbers[4] < 0.5
    return torch.stack([amount * ~(alone & ~right), amount * ~(alone & right)], -1)


def place_parts(
    places: torch.Tensor, moves: torch.Tensor, points: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert places and directions from face units to the image.

    The axes are those of the face: from eye to eye, and from the eyes to the mouth. So parts and
    movements follow a face that is turned or seen from the side. Directions keep their length.

    Args:
        places: (K, 2) in face units.
        moves: (K, 2) in face units.
        points: Five points of each face (N, 5, 2), in pixels.

    Returns:
        tuple: Places (N, K, 2), in pixels, and moves (N, K, 2), without a unit.
    """
    eyes, mouth = points[:, :2], points[:, 3:].mean(1)
    middle = eyes.mean(1)
    axes = torch.stack([eyes[:, 1] - eyes[:, 0], mouth - middle], 1)  # (N, 2, 2)
    unit = torch.nn.functional.normalize(axes, dim=-1)
    return middle[:, None] + places @ axes, moves @ unit


def product_field(
    places: torch.Tensor, moves: torch.Tensor, radii: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """Sum bumps ``((1 - x^2) (1 - y^2))^2`` with x, y in radii, 0 outside of a square.

    A product of a row and a column is a matrix product, which is fast for any number of bumps.

    Args:
        places: Centres (N, K, 2), in pixels.
        moves: Displacements of the centres (N, K, 2), in pixels.
        radii: Radii of the bumps (N, K) or (K,), in pixels.
        height, width: Size of the images, in pixels.

    Returns:
        Tensor: Displacements (N, H, W, 2) in pixels.
    """
    rise = []
    for axis, length in ((0, width), (1, height)):
        offset = torch.arange(length, device=places.device) - places[..., axis, None]
        rise.append((1 - (offset / radii[..., None]) ** 2).clamp(min=0) ** 2)  # (N, K, length)
    bump_x, bump_y = rise
    columns = torch.einsum('nkc,nkh->nchk', moves, bump_y)
    return (columns.flatten(1, 2) @ bump_x).unflatten(1, (2, height)).permute(0, 2, 3, 1)


@MODELS.register_module()
@TRANSFORMS.register_module()
class RandomMuscleWarp(LocalWarp):
    """Move brows, lids, nose wings, cheeks, lips and chin as the muscles of a face do.

    Makes the negative of ContraWarping, which "moves the facial muscles" (Sec. 3.1, Fig. 3).
    Limits, window and interface are those of :class:`RandomLocalWarp`; the movements are
    :data:`ACTIONS`. They are placed by five points: those of each face where a data set has them
    (``landmarks``), otherwise those of an aligned face.

    Args:
        strength (float): Longest displacement, as a fraction of the shorter side, 0 to 1; 0 leaves
            images unchanged. Defaults to 0.1.
        prob (float): Probability of an action, 0 to 1. Every face has at least one. Defaults to
            0.35.
        coupling (float): Probability that both halves of a face move alike, 0 to 1. Defaults to
            0.8.
        points (tuple): Left eye, right eye, nose, left and right corner of the mouth of an aligned
            face, as fractions of width and height. ``tools/misc/measure_crops.py`` measures those
            of other crops. Defaults to ArcFace's.
        fade (float): As in ``RandomLocalWarp``. Defaults to 0.3.
        max_slope (float): As in ``RandomLocalWarp``. Defaults to 0.7.

    Raises:
        ValueError: If an argument is out of range.

    >>> field = RandomMuscleWarp().draw(2, 64, 64)
    >>> field.shape, bool(field.norm(dim=-1).max() <= 0.1 * 64 + 1e-4)
    (torch.Size([2, 64, 64, 2]), True)
    """

    uses_landmarks = True
    softening = 0.04
    settings = ('strength', 'prob', 'coupling', 'points', 'fade', 'max_slope')

    @check_arguments(
        'data_preprocessor.warp',
        strength=between(0, 1),
        prob=between(0, 1),
        coupling=between(0, 1),
        fade=between(0, 1, above=True),
        max_slope=between(0, FOLD_LIMIT, above=True, below=True),
    )
    def __init__(
        self,
        strength: float = 0.1,
        prob: float = 0.35,
        coupling: float = 0.8,
        points: Sequence[Sequence[float]] = POINTS,
        fade: float = 0.3,
        max_slope: float = 0.7,
    ) -> None:
        super().__init__()
        _check_points(points)
        self.strength = strength
        self.prob = prob
        self.coupling = coupling
        self.points = points
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
        amounts = draw_actions(batch, self.prob, self.coupling, device, generator)
        return self.make_field(amounts, height, width, landmarks)

    def make_field(
        self,
        amounts: torch.Tensor,
        height: int,
        width: int,
        landmarks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Make the fields (N, H, W, 2) of given amounts (N, A, 2), see :func:`draw_actions`."""
        side = min(height, width)
        if landmarks is None:
            landmarks = amounts.new_tensor(self.points).expand(len(amounts), -1, -1)
        points = landmarks * amounts.new_tensor([width, height]) - 0.5  # pixel 0 is at 0.5
        places, moves, radii, rows = (part.to(amounts.device) for part in _list_bumps())
        place, direction = place_parts(places, moves, points)
        amount = amounts.flatten(1)[:, rows]
        longest = self.strength * side
        # A pixel shows what was at p + d(p), so what moves by m is found at -m.
        move = -longest * amount[..., None] * direction
        field = product_field(place, move, radii * side, height, width)
        window = face_window(height, width, None, self.fade, amounts.device)
        return limit_displacement(field * window[..., None], longest, self.max_slope)


def _list_bumps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """List the bumps of both halves: places, moves, radii, and the row of amounts of each."""
    places, moves, radii, rows = [], [], [], []
    for number, action in enumerate(ACTIONS):
        for half, sign in enumerate((1, -1)):
            for (x, y), (dx, dy) in zip(action.places, action.moves, strict=True):
                places.append([sign * x, y])
                moves.append([sign * dx, dy])
                radii.append(action.radius)
                rows.append(2 * number + half)
    return (
        torch.tensor(places, dtype=torch.float32),
        torch.tensor(moves, dtype=torch.float32),
        torch.tensor(radii),
        torch.tensor(rows),
    )


def _check_points(points: Sequence[Sequence[float]]) -> None:
    if len(points) != 5 or any(len(point) != 2 for point in points):
        raise InvalidValueError(
            f'RandomMuscleWarp: got points={points}, expected x and y of eyes, nose and corners of '
            'the mouth, as fractions of width and height; set data_preprocessor.warp.points'
        )
