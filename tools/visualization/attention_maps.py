#!/usr/bin/env python
"""Draw attention maps of a classifier on faces: one row per face, one column per map.

    python tools/visualization/attention_maps.py CONFIG CHECKPOINT face.jpg folder/
    python tools/visualization/attention_maps.py CONFIG CHECKPOINT CLIP --class Happiness

The maps are the backbone's spatial attention, the map by which APViT selects patches, Grad-CAM of a
class, and what each cell of Spatial Reserve Pooling adds to the logit of that class;
docs/attention_maps.md explains them. Maps that the model does not have are left out, and a line
gives the reason.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from abaw_mm.apis.explain import explain
from abaw_mm.cli import CommandParser, cfg_options_argument, report_errors
from abaw_mm.visualization.attention.contact_sheet import draw_sheet

NAMES = dict(
    attention='spatial attention',
    own="APViT's own map",
    grad_cam='Grad-CAM',
    cells='cells of the neck',
)


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the contact sheet."""
    parser = CommandParser(
        __doc__, cfg_options_argument('val_dataloader.dataset.data_root=data/affwild2')
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path or URL of its checkpoint')
    parser.add_argument(
        'faces',
        nargs='+',
        metavar='IMAGES|CLIP',
        help="images, folders of images, or clips of the config's validation set",
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('attention_maps.png'),
        help='picture to write (default: %(default)s)',
    )
    parser.add_argument(
        '--class',
        dest='class_name',
        metavar='CLASS',
        help="class to explain (default: each face's predicted one)",
    )
    parser.add_argument(
        '--num-frames',
        type=int,
        default=8,
        help='evenly spaced frames to draw from each clip and folder (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    if args.out.suffix.lower() != '.png':
        parser.error(f'--out: got {args.out}, expected a file that ends in .png')
    faces = explain(
        args.config, args.checkpoint, args.faces, args.class_name, args.num_frames, args.cfg_options
    )
    draw_sheet(faces, args.out, f'{Path(args.config).stem}, {Path(args.checkpoint).name}')
    for name, reason in faces[0].maps.absent.items():
        print(f'left out: {NAMES[name]}, {reason}')
    print(f'{args.out}: {len(faces)} faces')


if __name__ == '__main__':
    sys.exit(main())
