#!/usr/bin/env python
"""Draw the images of a data loader as the model sees them: cropped, flipped, not normalised.

    python tools/visualization/browse_batches.py configs/res18_srp_affwild2.py
    python tools/visualization/browse_batches.py configs/res18_byol_faces.py --out views.png

mmpretrain's browse_dataset.py shows what the workers load. In the headline configs, the data
preprocessor augments, and only this tool shows it. For pre-training, the views of a face are side
by side. With frame batches, these are the first images of a training with the config's seed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from abaw_mm.apis.browse_batches import SPLITS, browse_batches
from abaw_mm.cli import CommandParser, cfg_options_argument, report_errors
from abaw_mm.files import atomic_write
from abaw_mm.visualization.image_grid import draw_image_grid

COLUMNS = 8


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the contact sheet."""
    parser = CommandParser(
        __doc__, cfg_options_argument('train_dataloader.dataset.data_root=data/affwild2')
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('batches.png'),
        help='picture to write (default: %(default)s)',
    )
    parser.add_argument(
        '--split', choices=SPLITS, default='train', help='data loader (default: %(default)s)'
    )
    parser.add_argument(
        '--num-images', type=int, default=32, help='images to draw (default: %(default)s)'
    )
    args = parser.parse_args(argv)
    if args.out.suffix.lower() != '.png':
        parser.error(f'--out: got {args.out}, expected a file that ends in .png')
    if args.num_images < 1:
        parser.error(f'--num-images: got {args.num_images}, expected at least 1')
    samples = browse_batches(args.config, args.split, args.num_images, args.cfg_options)
    tiles = [
        (view, sample.caption if i == 0 else f'view {i + 1}')
        for sample in samples
        for i, view in enumerate(sample.views)
    ]
    rows = [tiles[i : i + COLUMNS] for i in range(0, len(tiles), COLUMNS)]
    picture = draw_image_grid(
        [[image for image, _ in row] for row in rows],
        captions=[[caption for _, caption in row] for row in rows],
    )
    with atomic_write(args.out) as draft:
        Image.fromarray(picture).save(draft, format='PNG')
    height, width = tiles[0][0].shape[:2]
    print(f'{args.out}: {len(samples)} images of {width}x{height} pixels')


if __name__ == '__main__':
    sys.exit(main())
