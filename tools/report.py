#!/usr/bin/env python
"""From predictions to a page: scores with intervals, figures, timelines, the surest mistakes.

    python tools/report.py predictions.npz --out report.html --data-root data/affwild2
    python tools/report.py seed0.npz seed1.npz --out report.html

The page needs no network and no other file. docs/report.md tells what it shows.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from abaw_mm.cli import report_errors
from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.packed_crops import open_crops
from abaw_mm.datasets.verify import find_crops
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.metrics.macro_f1 import ABSENT
from abaw_mm.evaluation.predictions.postprocess import Postprocess
from abaw_mm.evaluation.predictions.smoothing import METHODS
from abaw_mm.files import atomic_write
from abaw_mm.visualization.report.report import (
    Pictures,
    check_complete,
    check_runs,
    make_report,
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog='exit status: 0; 1 after an error; 2 for wrong flags',
    )
    parser.add_argument(
        'predictions',
        nargs='+',
        help='.npz that tools/test.py --out wrote; several of the same frames stand side by side',
    )
    parser.add_argument('--out', required=True, help='page to write (.html)')
    parser.add_argument(
        '--names',
        nargs='+',
        help='of the runs; default: of the files, or as much of the path as tells them apart',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        metavar='DIR',
        help='for pictures of mistakes: the data root, or the folder or store of the crops itself',
    )
    parser.add_argument('--filename-tmpl', default='{:05d}.jpg', help='of the crops')
    parser.add_argument('--mistakes', type=int, default=24, help='pictures of a run; default: 24')
    parser.add_argument(
        '--ann-file',
        nargs='+',
        metavar='DIR',
        help='folders of annotations: with --data-root, '
        'each labelled frame that has a crop must be among the predictions',
    )
    parser.add_argument(
        '--start-index', type=int, default=1, help="number of a clip's first frame; default: 1"
    )
    parser.add_argument(
        '--method', choices=METHODS, default='box', help='of the smoothing; default: box'
    )
    parser.add_argument(
        '--width',
        type=int,
        default=50,
        help='of the smoothing: frames before and after, of '
        'gaussian the standard deviation; default: 50',
    )
    parser.add_argument(
        '--hold', type=int, default=0, help='frames that a smoothed class has to last'
    )
    parser.add_argument(
        '--no-smoothing', dest='smoothing', action='store_false', help='leave smoothing out'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        default=EXPRESSIONS,
        metavar='NAME',
        help="that the predictions must have, in order; default: the challenge's eight",
    )
    parser.add_argument(
        '--absent',
        choices=ABSENT,
        default='zero',
        help='a class without a labelled frame counts 0, as in the challenge, or not at all',
    )
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.predictions):
        parser.error(
            f'--names: got {len(args.names)} names for {len(args.predictions)} files, '
            'expected one each'
        )
    args.names = args.names or names_of(args.predictions)
    if len(set(args.names)) < len(args.names):
        parser.error(
            f'got the runs {", ".join(args.names)}, expected each once; name them by --names'
        )
    if args.ann_file and not args.data_root:
        parser.error('--ann-file: got no --data-root, expected it to tell which frames have a crop')
    if args.mistakes < 0:
        parser.error(f'--mistakes: got {args.mistakes}, expected a number from 0 on')
    if not args.out.endswith(('.html', '.htm')):
        parser.error(f'--out: got {args.out!r}, expected a page, such as report.html')
    return args


def names_of(paths: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that differ, without the suffix."""
    parts = [Path(path).resolve().with_suffix('').parts for path in paths]
    for length in range(1, max(map(len, parts))):
        names = ['/'.join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def open_roots(data_root: Path, filename_tmpl: str) -> list[CropFolder]:
    """Where the crops of a data root lie, or the folder itself."""
    if not data_root.is_dir():
        raise FileNotFoundError(
            f'--data-root: no folder {data_root}, expected such as data/affwild2'
        )
    return [open_crops(path, filename_tmpl) for path in find_crops(data_root) or [data_root]]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    args = parse_args(argv)
    runs = [Predictions.read(path) for path in args.predictions]
    check_runs(runs, args.predictions, args.classes)
    pictures = None
    if args.data_root:
        pictures = Pictures(open_roots(args.data_root, args.filename_tmpl), args.mistakes)
    if args.ann_file:
        labels = read_annotation_folder(args.ann_file)
        check_complete(runs[0], args.predictions[0], labels, pictures.roots, args.start_index)
    smoothing = None
    if args.smoothing:
        smoothing = Postprocess(method=args.method, width=args.width, hold=args.hold)
    page = make_report(runs, args.names, smoothing, pictures, args.absent)
    with atomic_write(args.out) as draft:
        draft.write_text(page, encoding='utf-8')
    print(
        f'{args.out}: {len(runs[0])} frames, clips: {len(runs[0].clips)}, runs: {len(runs)}, '
        f'{len(page.encode()) / 1e6:.1f} MB'
    )
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
