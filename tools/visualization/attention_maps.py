#!/usr/bin/env python
"""Draw where on faces a classifier looks, as a contact sheet: a row a face, a column a map.

    python tools/visualization/attention_maps.py CONFIG CHECKPOINT face.jpg folder/
    python tools/visualization/attention_maps.py CONFIG CHECKPOINT CLIP --class Happiness

The maps: the backbone's spatial attention; for APViT the one by which it keeps patches; Grad-CAM of
a class; and what each cell of Spatial Reserve Pooling adds to that class's logit. What they mean is
in docs/attention_maps.md. A map that the model does not have is left out, and a line says why.

Exit status: 0; 1 after an error, of which one message tells (ABAW_MM_TRACEBACK=1: where it arose);
2 for wrong flags.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

from abaw_mm.apis.explain import explain
from abaw_mm.cli import report_errors
from abaw_mm.visualization.attention.contact_sheet import draw_sheet

NAMES = dict(
    attention='spatial attention',
    own="APViT's own map",
    grad_cam='Grad-CAM',
    cells='cells of the neck',
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
        help='evenly spaced, of each clip and folder (default: %(default)s)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='overrides of the config, e.g. val_dataloader.dataset.data_root=data/affwild2',
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
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
