#!/usr/bin/env python
"""Write a report of predictions: scores with intervals, figures, timelines, confident mistakes.

    python tools/report.py predictions.npz --out report.html --data-root data/affwild2
    python tools/report.py seed0.npz seed1.npz --out report.html

The page is one HTML file that loads nothing else. See docs/report.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from abaw_mm.cli import (
    CommandParser,
    absent_argument,
    make_names,
    report_errors,
    smoothing_arguments,
    start_index_argument,
    template_argument,
)
from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.datasets.crops.packed_crops import open_crops
from abaw_mm.datasets.frame_index import FrameReader
from abaw_mm.datasets.verify.read_download import find_crops
from abaw_mm.errors import InvalidValueError, MissingFileError, shorten
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.files import atomic_write
from abaw_mm.structures.tasks import UNLABELLED
from abaw_mm.visualization.report.check_runs import check_complete, check_runs
from abaw_mm.visualization.report.clip_bootstrap import confusion_per_clip
from abaw_mm.visualization.report.figures import save_confusion
from abaw_mm.visualization.report.report import make_report
from abaw_mm.visualization.report.tracks.mistakes import Pictures


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        __doc__,
        template_argument(),
        start_index_argument(),
        smoothing_arguments(width=50),
        absent_argument(),
    )
    parser.add_argument(
        'predictions',
        nargs='+',
        help='.npz written by tools/test.py --out; several files of the same frames are compared',
    )
    parser.add_argument('--out', required=True, help='page to write (.html)')
    parser.add_argument(
        '--names',
        nargs='+',
        help='names of the runs; default: the shortest ends of the paths that differ',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        metavar='DIR',
        help='data root, or folder or store of crops, for pictures of mistakes',
    )
    parser.add_argument(
        '--mistakes', type=int, default=24, help='pictures of mistakes per run; default: 24'
    )
    parser.add_argument(
        '--ann-file',
        nargs='+',
        metavar='DIR',
        help='folders of annotations, or the file of the multi-task track; requires a prediction '
        'for each labelled frame with a crop in --data-root',
    )
    parser.add_argument(
        '--confusion',
        metavar='FILE',
        help='also write the confusion matrix of the first run to this picture (.png)',
    )
    parser.add_argument(
        '--no-smoothing', dest='smoothing', action='store_false', help='leave out smoothing'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help="classes of the predictions, in order; default: the challenge's eight",
    )
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.predictions):
        parser.error(
            f'--names: got {len(args.names)} names for {len(args.predictions)} files, '
            'expected one per file'
        )
    args.names = args.names or make_names(args.predictions)
    if len(set(args.names)) < len(args.names):
        parser.error(
            f'got the runs {", ".join(args.names)}, expected different names; set them with --names'
        )
    if args.ann_file and not args.data_root:
        parser.error('--ann-file: got no --data-root, which says which frames have a crop')
    if args.mistakes < 0:
        parser.error(f'--mistakes: got {args.mistakes}, expected 0 or more')
    if not args.out.endswith(('.html', '.htm')):
        parser.error(f'--out: got {args.out!r}, expected a page, such as report.html')
    if args.confusion and not args.confusion.endswith('.png'):
        parser.error(f'--confusion: got {args.confusion!r}, expected a file that ends in .png')
    return args


def open_roots(data_root: Path, filename_tmpl: str) -> list[CropFolder]:
    """Open the crops of a data root, or the folder or store of crops itself."""
    if not data_root.is_dir():
        raise MissingFileError(
            f'--data-root: no folder {data_root}, expected one such as data/affwild2'
        )
    return [open_crops(path, filename_tmpl) for path in find_crops(data_root) or [data_root]]


def check_options(args: argparse.Namespace, task: str) -> None:
    """Raise InvalidValueError if an option has no effect on the page of a track."""
    needs = {
        '--classes': (args.classes, ('expr', 'mtl')),
        '--confusion': (args.confusion, ('expr', 'mtl')),
        '--absent': (args.absent != 'zero', ('expr', 'au', 'mtl')),
    }
    for flag, (is_given, tasks) in needs.items():
        if is_given and task not in tasks:
            raise InvalidValueError(
                f'{flag}: got it for predictions of the track {task!r}, expected those of '
                f'{" or ".join(map(repr, tasks))}; remove {flag}'
            )


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    args = parse_args(argv)
    runs = [Predictions.read(path) for path in args.predictions]
    classes, task = args.classes or EXPRESSIONS, runs[0].task
    check_options(args, task)
    check_runs(runs, args.predictions, classes)
    pictures = None
    if args.data_root:
        pictures = Pictures(open_roots(args.data_root, args.filename_tmpl), args.mistakes)
    if args.ann_file:
        reader = FrameReader(
            args.ann_file,
            data_root='',
            start_index=args.start_index,
            filename_tmpl=args.filename_tmpl,
            clips=None,
            owner='--ann-file',
            task=task,
        )
        expected = reader.read(lambda clips: list_crops(pictures.roots, clips))
        check_complete(runs[0], args.predictions[0], expected)
    smoothing = None
    done = sorted({step for run in runs for step in run.steps})
    if args.smoothing and done:
        print(f'note: no smoothing is added, because of the step {shorten(done)} in the files')
    elif args.smoothing:
        smoothing = Postprocess(method=args.method, width=args.width, hold=args.hold)
    page = make_report(runs, args.names, smoothing, pictures, args.absent)
    with atomic_write(args.out) as draft:
        draft.write_text(page, encoding='utf-8')
    if args.confusion:
        known = runs[0].take(runs[0]['gt_label'] != UNLABELLED)
        confusion = confusion_per_clip(known, len(classes)).sum(axis=0)
        save_confusion(confusion, classes, args.confusion)
    print(
        f'{args.out}: {len(runs[0])} frames, clips: {len(runs[0].clips)}, runs: {len(runs)}, '
        f'{len(page.encode()) / 1e6:.1f} MB'
    )


if __name__ == '__main__':
    sys.exit(main())
