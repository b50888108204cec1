#!/usr/bin/env python
"""Export a folder of features to one file for other programs.

    python tools/dataset_converters/export_features.py features/res50_srp_affwild2 features.npz

OUT.npz and OUT.h5 have '<clip>/features' (frames, width) and '<clip>/frame_no' for each clip;
OUT.pickle is a dict from '<clip>/00001.jpg' to rows. import_features.py reads all of them to the
same bits.
"""

import argparse
import sys
from collections.abc import Sequence

from abaw_mm.apis import export_features
from abaw_mm.cli import CommandParser, report_errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__)
    parser.add_argument('folder', help='folder of features')
    parser.add_argument('out', help='file to write: .npz, .h5, .pkl or .pickle')
    parser.add_argument('--clips', nargs='+', metavar='CLIP', help='clips to export (default: all)')
    return parser.parse_args(argv)


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Export the features."""
    args = parse_args(argv)
    clips, frames = export_features(args.folder, args.out, args.clips)
    print(f'{args.out}: {clips} clips, {frames} frames')


if __name__ == '__main__':
    sys.exit(main())
