#!/usr/bin/env python
"""Import features of other programs into a folder of features, for models over features.

    python tools/dataset_converters/import_features.py train.pickle val.pickle \\
        --out features/enet_b0
    python tools/dataset_converters/import_features.py features.h5 --out features/beit

A file is .npz, .h5 or a pickle (.pkl, .pickle) in one of these forms:

- keys such as 'video1/00001.jpg', with one row each, or a tuple of rows (--part)
- names of clips, with an array (frames, width): its rows are the frames from --start-index on
- 'video1/features' (frames, width) and 'video1/frame_no' (frames, )
- the arrays 'names' ('video1/00001.jpg', ...) and 'features'

Pickles are read as data: one that asks for more than NumPy arrays is refused. All files are checked
before anything is written: names of clips, repeated frames, widths, NaN. Run the same command again
to continue an interrupted import. export_features.py is the way back.
"""

import argparse
import sys
from collections.abc import Sequence

from abaw_mm.apis import import_features
from abaw_mm.cli import CommandParser, report_errors, start_index_argument
from abaw_mm.progress import show_progress


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, start_index_argument())
    parser.add_argument('files', nargs='+', metavar='FILE', help='.npz, .h5, .pkl or .pickle')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the features')
    parser.add_argument(
        '--part',
        type=int,
        default=0,
        help='array to use where an entry is a tuple of arrays (default: %(default)s)',
    )
    return parser.parse_args(argv)


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Import the features."""
    args = parse_args(argv)
    with show_progress('Importing') as report:
        found = import_features(args.files, args.out, args.part, args.start_index, report)
    print(
        f'{args.out}: {found.clips} clips, {found.frames} frames, {found.folder.dim} features per '
        f'frame ({", ".join(found.dtypes)}); float16 changes them by at most {found.rounding:.2g}'
    )


if __name__ == '__main__':
    sys.exit(main())
