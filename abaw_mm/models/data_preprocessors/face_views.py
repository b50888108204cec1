"""Views of faces: global transformation and local warp in one resampling, then colour and blur."""

import math

import torch
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
# Red, green and blue to luma and two colour axes (YIQ); a turn of the axes changes the hue.
TO_YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
BLUR_REACH = 3  # pixels of a blur on each side, three times the largest sigma


def draw_affine(
    batch: int,
    size: tuple[int, int],
    rotation: float,
    rotation_prob: float,
    area: tuple[float, float],
    aspect: tuple[float, float],
    flip_prob: float,
    device: torch.device | str = 'cpu',
) -> torch.Tensor:
    """Draw rotations, crops and flips as affine maps from the view to the face.

    A crop is a box of random area, aspect ratio and place within the face, as in
    ``RandomResizedCrop``. The box is turned around its centre.

    Args:
        batch: Number of faces, N.
        size: Height and width of the faces, in pixels.
        rotation: Largest rotation, in degrees.
        rotation_prob: Probability of a rotation.
        area: Range of the area of a box, as a fraction of the face.
        aspect: Range of width / height of a box.
        flip_prob: Probability of a horizontal flip.
        device: Device of the maps.

    Returns:
        Tensor: (N, 2, 3), for coordinates from -1 to 1 as in ``F.affine_grid``.

    >>> affine = draw_affine(1, (8, 8), 0., 0., (1., 1.), (1., 1.), 0.)
    >>> torch.equal(affine, torch.eye(2, 3)[None])
    True
    """
    height, width = size
    numbers = torch.rand(7, batch, device=device)
    angle = math.radians(rotation) * (2 * numbers[0] - 1) * (numbers[1] < rotation_prob)
    area_drawn = (area[0] + (area[1] - area[0]) * numbers[2]) * (height * width)
    low, high = map(math.log, aspect)
    aspect_drawn = (low + (high - low) * numbers[3]).exp()
    share_x = ((area_drawn * aspect_drawn).sqrt() / width).clamp(max=1)
    share_y = ((area_drawn / aspect_drawn).sqrt() / height).clamp(max=1)
    centre_x, centre_y = (
        (1 - share) * (2 * number - 1)
        for share, number in ((share_x, numbers[4]), (share_y, numbers[5]))
    )
    side = torch.where(numbers[6] < flip_prob, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    ratio = width / height  # coordinates run from -1 to 1 along both sides
    rows = [
        [side * share_x * cos, -share_y * sin / ratio, centre_x],
        [side * share_x * sin * ratio, share_y * cos, centre_y],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], 1)


def make_grid(affine: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return the places of the face that the pixels of a view show, (N, height, width, 2).

    Args:
        affine: Maps from view to face, (N, 2, 3).
        size: Height and width of the view, in pixels.
    """
    return F.affine_grid(affine, [len(affine), 1, *size], align_corners=False)


def displace_grid(grid: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Compose a local warp of the face with a global transformation.

    The plain view shows the face at g(p), the warped one at g(p) + d(g(p)): what a warped face
    would show after the global transformation, but resampled once. Both views are resampled in the
    same way, so that blur does not reveal which one is warped.

    Args:
        grid: Places g of :func:`make_grid`, (N, h, w, 2), from -1 to 1.
        field: Displacements d on the pixels of the face, (N, H, W, 2), in its pixels.

    Returns:
        Tensor: (N, h, w, 2); equal to the grid where the field is 0.
    """
    height, width = field.shape[1:3]
    moved = F.grid_sample(
        field.permute(0, 3, 1, 2), grid, mode='bilinear', padding_mode='zeros', align_corners=False
    )
    scale = field.new_tensor([2 / width, 2 / height])
    return grid + moved.permute(0, 2, 3, 1) * scale


def sample_views(faces: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample faces (N, C, H, W) at a grid, bilinearly; the border continues outside."""
    return F.grid_sample(faces, grid, mode='bilinear', padding_mode='border', align_corners=False)


def draw_colour(
    batch: int,
    jitter: tuple[float, float, float, float],
    jitter_prob: float,
    grey_prob: float,
    device: torch.device | str = 'cpu',
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw changes of brightness, contrast, saturation and hue.

    Args:
        batch: Number of faces, N.
        jitter: Largest relative change of brightness, contrast and saturation, and of the hue in
            turns.
        jitter_prob: Probability of a change.
        grey_prob: Probability of a grey image.
        device: Device.

    Returns:
        tuple: Colour matrices (N, 3, 3) and contrasts (N,), for :func:`apply_colour`.
    """
    numbers = torch.rand(6, batch, device=device)
    change = (2 * numbers[:4] - 1) * numbers.new_tensor(jitter)[:, None]
    change = change * (numbers[4] < jitter_prob)
    brightness, contrast, saturation = (1 + change[:3]).clamp(min=0)
    saturation = saturation * (numbers[5] >= grey_prob)
    turn = 2 * math.pi * change[3]
    to_yiq = numbers.new_tensor(TO_YIQ)
    matrix = numbers.new_zeros(batch, 3, 3)
    matrix[:, 0, 0] = 1
    matrix[:, 1, 1] = matrix[:, 2, 2] = saturation * turn.cos()
    matrix[:, 2, 1] = saturation * turn.sin()
    matrix[:, 1, 2] = -matrix[:, 2, 1]
    back = torch.linalg.inv(to_yiq.cpu()).to(device)
    return brightness[:, None, None] * (back @ matrix @ to_yiq), contrast


def apply_colour(
    images: torch.Tensor, matrix: torch.Tensor, contrast: torch.Tensor
) -> torch.Tensor:
    """Apply colour matrices, then contrasts around the mean luma; clip to 0-255.

    Args:
        images: (N, 3, H, W) RGB in 0-255.
        matrix: (N, 3, 3).
        contrast: (N,).
    """
    pixels = matrix @ images.flatten(2)
    mean = (images.new_tensor(LUMA) @ pixels.mean(2).T)[:, None, None]
    pixels = mean + contrast[:, None, None] * (pixels - mean)
    return pixels.clamp(0, 255).view_as(images)


def draw_sigma(
    batch: int,
    sigma: tuple[float, float],
    prob: float,
    device: torch.device | str = 'cpu',
) -> torch.Tensor:
    """Draw standard deviations of a Gaussian blur, (N,) in pixels; 0 is no blur."""
    numbers = torch.rand(2, batch, device=device)
    return (sigma[0] + (sigma[1] - sigma[0]) * numbers[0]) * (numbers[1] < prob)


def blur(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blur images (N, C, H, W) by Gaussians of their own; sigma (N,) in pixels, 0 for none."""
    chosen = sigma.nonzero()[:, 0]
    if not len(chosen):
        return images
    part = images[chosen]
    offsets = torch.arange(BLUR_REACH + 1, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma[chosen, None]) ** 2)
    weights = weights / (2 * weights.sum(1, keepdim=True) - 1)  # offset 0 counts once
    for dim in (2, 3):
        part = _blur_along(part, weights, dim)
    return images.index_copy(0, chosen, part)


def _blur_along(images: torch.Tensor, weights: torch.Tensor, dim: int) -> torch.Tensor:
    reach = [BLUR_REACH] * 2
    length = images.shape[dim]
    padded = F.pad(images, [0, 0, *reach] if dim == 2 else [*reach, 0, 0], mode='replicate')

    def shift(offset: int) -> torch.Tensor:
        return padded.narrow(dim, BLUR_REACH + offset, length)

    total = images * weights[:, 0, None, None, None]
    for offset in range(1, BLUR_REACH + 1):
        total += (shift(offset) + shift(-offset)) * weights[:, offset, None, None, None]
    return total


def soften(images: torch.Tensor, share: float) -> torch.Tensor:
    """Average each pixel with its neighbours, which get ``share`` of the weight each, per axis.

    >>> soften(torch.tensor([[[[0., 1., 0.]]]]), 0.25)
    tensor([[[[0.2500, 0.5000, 0.2500]]]])
    """
    for dim in (2, 3):
        length = images.shape[dim]
        padded = F.pad(images, [0, 0, 1, 1] if dim == 2 else [1, 1, 0, 0], mode='replicate')
        sides = padded.narrow(dim, 0, length) + padded.narrow(dim, 2, length)
        images = (1 - 2 * share) * images + share * sides
    return images


def normalize(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Normalise and convert to channels_last."""
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
