#!/usr/bin/env python
"""Draw faces beside local warps of them, with a grid that shows each displacement.

    python demo/make_demo_data.py data/demo --train-clips 8 --val-clips 1 --frames 40
    python tools/visualization/draw_local_warp.py local_warp.png data/demo/cropped_aligned

The faces are spread evenly over the folder.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from abaw_mm.cli import CommandParser, report_errors
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.errors import MissingFileError
from abaw_mm.files import atomic_write
from abaw_mm.models.selfsup import RandomLocalWarp, RandomMuscleWarp
from abaw_mm.models.selfsup.base_warp import LocalWarp
from abaw_mm.models.selfsup.fields import warp_images
from abaw_mm.visualization.image_grid import draw_image_grid

WHITE, GREY = 255, 110


def draw_grid(field: torch.Tensor, lines: int = 14) -> np.ndarray:
    """Draw a grid warped by a field (H, W, 2), as (H, W, 3) uint8."""
    height, width = field.shape[:2]
    grid = np.full((4 * height, 4 * width, 3), WHITE, np.float32)
    for i in range(lines + 1):  # drawn at four times the size, for thin lines
        x, y = round(i * (4 * width - 1) / lines), round(i * (4 * height - 1) / lines)
        cv2.line(grid, (x, 0), (x, 4 * height), (GREY,) * 3, 2)
        cv2.line(grid, (0, y), (4 * width, y), (GREY,) * 3, 2)
    fine = torch.nn.functional.interpolate(
        field.permute(2, 0, 1)[None], scale_factor=4, mode='bilinear', align_corners=False
    ).permute(0, 2, 3, 1)
    bent = warp_images(torch.from_numpy(grid).permute(2, 0, 1)[None], 4 * fine)
    bent = bent[0].permute(1, 2, 0).numpy()
    return cv2.resize(bent, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def draw_row(face: np.ndarray, warp: LocalWarp, warps: int, seed: int) -> list[np.ndarray]:
    """Return a face, then the warped face and the grid for each warp."""
    generator = torch.Generator().manual_seed(seed)
    fields = warp.draw(warps, *face.shape[:2], generator=generator)
    images = torch.from_numpy(face).permute(2, 0, 1)[None].float().expand(warps, -1, -1, -1)
    warped = warp_images(images, fields).permute(0, 2, 3, 1).round().byte().numpy()
    tiles = [face]
    for image, field in zip(warped, fields, strict=True):
        tiles += [image, draw_grid(field)]
    return tiles


def make_warp(args: argparse.Namespace) -> LocalWarp:
    """Make the warp of the arguments."""
    strength = {} if args.strength is None else dict(strength=args.strength)
    if args.warp == 'muscle':
        return RandomMuscleWarp(**strength)
    return RandomLocalWarp(args.num_points, args.radius, **strength)


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the picture."""
    parser = CommandParser(__doc__)
    parser.add_argument('out', type=Path, help='picture to write (.png)')
    parser.add_argument('folder', type=Path, help='folder of faces, searched recursively')
    parser.add_argument(
        '--faces', type=int, default=3, help='number of faces, one row each (default: %(default)s)'
    )
    parser.add_argument('--warps', type=int, default=2, help='warps per face (default: 2)')
    parser.add_argument(
        '--warp',
        choices=('muscle', 'free'),
        default='muscle',
        help='RandomMuscleWarp or RandomLocalWarp (default: %(default)s)',
    )
    parser.add_argument('--strength', type=float, help="longest displacement (default: the warp's)")
    for name, default in (('radius', 0.2), ('num-points', 8)):
        parser.add_argument(
            f'--{name}',
            type=type(default),
            default=default,
            help='of --warp free, see RandomLocalWarp (default: %(default)s)',
        )
    parser.add_argument('--seed', type=int, default=0, help='random seed (default: 0)')
    args = parser.parse_args(argv)
    paths = sorted(p for p in args.folder.rglob('*') if p.suffix.lower() in ('.jpg', '.png'))
    if not paths:
        raise MissingFileError(
            f'{args.folder}: got no .jpg or .png, expected faces; name another folder'
        )
    warp = make_warp(args)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, args.faces + 2).astype(int)[1:-1]]
    rows = [
        draw_row(read_crop(str(path))[..., ::-1].copy(), warp, args.warps, args.seed + i)  # to RGB
        for i, path in enumerate(chosen)
    ]
    names = [f'{path.parent.name}/{path.name}' for path in chosen]
    headings = [
        'face',
        *(text for i in range(args.warps) for text in (f'warp {i + 1}', 'its grid')),
    ]
    captions = [[name, *[''] * (len(headings) - 1)] for name in names]
    with atomic_write(args.out) as draft:
        picture = Image.fromarray(draw_image_grid(rows, headings, captions))
        picture.save(draft, format='PNG', optimize=True)
    print(f'{args.out}: {len(rows)} faces with {args.warps} warps each, {warp}')


if __name__ == '__main__':
    sys.exit(main())
