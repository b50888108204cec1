#!/usr/bin/env python
"""Score a predictions file on labelled frames with a crop, and on all labelled frames.

    python tools/analysis_tools/score_predictions.py predictions.npz \\
        --ann-file data/affwild2/annotations/EXPR_Recognition_Challenge/Validation_Set

Both figures are found in publications. Frames without a crop are filled as by
tools/make_submission.py. Without --ann-file only the first figure is known.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from abaw_mm.cli import (
    CommandParser,
    absent_argument,
    fill_arguments,
    json_argument,
    make_console,
    make_table,
    report_errors,
    start_index_argument,
    write_json,
)
from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.errors import shorten
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.score_predictions import Scores, score_predictions
from abaw_mm.evaluation.submission.gap_filler import GapFiller
from abaw_mm.files import read_text


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        __doc__, fill_arguments(), start_index_argument(), absent_argument(), json_argument()
    )
    parser.add_argument('predictions', help='.npz written by tools/test.py --out')
    parser.add_argument(
        '--ann-file', nargs='+', metavar='DIR', help='folders of annotations of the tested set'
    )
    parser.add_argument(
        '--clips', type=Path, help='file with one clip per line: the fold that was tested'
    )
    args = parser.parse_args(argv)
    if args.clips and not args.ann_file:
        parser.error('--clips: got no --ann-file, expected the folder with these clips')
    return args


def make_score_table(scores: Scores, classes: Sequence[str]) -> Table:
    """Make a table with both figures side by side."""
    parts = {'with a crop': scores.with_crop}
    if scores.all_labelled is not None:
        parts['all labelled'] = scores.all_labelled
    header = ['F1 (%)']
    for name in parts:
        header += [name, 'frames']
    rows = []
    for name in classes:
        cells = [(f'{x[f"f1_{name}"]:.2f}', x[f'support_{name}']) for x in parts.values()]
        rows.append([name, *sum(cells, ())])
    totals = [sum(x[f'support_{name}'] for name in classes) for x in parts.values()]
    for key, name in (('macro_f1', 'macro-F1'), ('accuracy', 'accuracy')):
        cells = [(f'{x[key]:.2f}', n) for x, n in zip(parts.values(), totals, strict=True)]
        rows.append([name, *sum(cells, ())])
    return make_table(header, rows)


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    args = parse_args(argv)
    predictions = Predictions.read(args.predictions)
    labels = None
    if args.ann_file:
        clips = args.clips and read_text(args.clips, 'one name of a clip per line').split('\n')
        labels = read_annotation_folder(args.ann_file, [c for c in clips if c] if clips else None)
    filler = GapFiller(args.fill, args.start_class, args.empty_clip)
    scores = score_predictions(predictions, labels, filler, args.start_index, args.absent)
    console = make_console()
    console.print(make_score_table(scores, predictions.classes))
    if scores.all_labelled is None:
        console.print('note: --ann-file adds the figure on all labelled frames')
    else:
        console.print(
            f'{scores.num_filled} labelled frames without a prediction, filled by {args.fill!r}'
        )
    if scores.empty_clips:
        console.print(f'note: clips without any prediction: {shorten(scores.empty_clips)}')
    if args.json:
        write_json(args.json, asdict(scores))


if __name__ == '__main__':
    sys.exit(main())
