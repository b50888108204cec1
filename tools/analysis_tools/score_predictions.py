#!/usr/bin/env python
"""Score a predictions file: on labelled frames with a crop, and on all labelled frames.

    python tools/analysis_tools/score_predictions.py predictions.npz \
        --ann-file data/affwild2/annotations/EXPR_Recognition_Challenge/Validation_Set

People report either figure. Frames without a crop are filled as tools/make_submission.py fills
them; without --ann-file they are not known, and the first figure comes alone.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from abaw_mm.cli import report_errors
from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.errors import shorten
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.metrics.macro_f1 import ABSENT
from abaw_mm.evaluation.predictions.score_predictions import (
    Scores,
    score_predictions,
)
from abaw_mm.evaluation.submission.gap_filler import (
    RULES,
    GapFiller,
)
from abaw_mm.files import atomic_write

PLAIN_WIDTH = 100  # columns of a table that goes to a file


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog='exit status: 0; 1 after an error; 2 for wrong flags',
    )
    parser.add_argument('predictions', help='.npz that tools/test.py --out wrote')
    parser.add_argument(
        '--ann-file', nargs='+', metavar='DIR', help='folders of the annotations that were tested'
    )
    parser.add_argument(
        '--clips', type=Path, help='a file with a clip a line: the fold that was tested'
    )
    parser.add_argument(
        '--fill',
        default='interpolate',
        metavar='RULE',
        help=f'frames without a crop: {", ".join(RULES)}, or a class; default: interpolate',
    )
    parser.add_argument(
        '--start-class',
        default='Other',
        metavar='CLASS',
        help="with --fill previous, before a clip's first crop; default: Other",
    )
    parser.add_argument(
        '--empty-clip', metavar='CLASS', help='class of clips without any crop; default: refuse'
    )
    parser.add_argument(
        '--start-index', type=int, default=1, help="number of a clip's first frame; default: 1"
    )
    parser.add_argument(
        '--absent',
        choices=ABSENT,
        default='zero',
        help='a class without a labelled frame counts 0, as in the challenge, or not at all',
    )
    parser.add_argument('--json', metavar='FILE', help='write the figures there, too')
    args = parser.parse_args(argv)
    if args.clips and not args.ann_file:
        parser.error('--clips: got no --ann-file, expected the folder that has these clips')
    return args


def show(scores: Scores, classes: Sequence[str], console: Console) -> None:
    """Print both figures side by side."""
    table = Table(box=box.MARKDOWN)
    parts = {'with a crop': scores.with_crop}
    if scores.all_labelled is not None:
        parts['all labelled'] = scores.all_labelled
    table.add_column('F1 (%)')
    for name in parts:
        table.add_column(name, justify='right')
        table.add_column('frames', justify='right')
    for name in classes:
        cells = [(f'{x[f"f1_{name}"]:.2f}', str(x[f'support_{name}'])) for x in parts.values()]
        table.add_row(name, *sum(cells, ()))
    totals = [str(sum(x[f'support_{name}'] for name in classes)) for x in parts.values()]
    for key, name in (('macro_f1', 'macro-F1'), ('accuracy', 'accuracy')):
        cells = [(f'{x[key]:.2f}', n) for x, n in zip(parts.values(), totals, strict=True)]
        table.add_row(name, *sum(cells, ()))
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures."""
    args = parse_args(argv)
    predictions = Predictions.read(args.predictions)
    labels = None
    if args.ann_file:
        clips = args.clips and args.clips.read_text(encoding='utf-8').splitlines()
        labels = read_annotation_folder(args.ann_file, [c for c in clips if c] if clips else None)
    scores = score_predictions(
        predictions,
        labels,
        GapFiller(args.fill, args.start_class, args.empty_clip),
        args.start_index,
        args.absent,
    )
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    console = Console(width=width, soft_wrap=True, markup=False, highlight=False)
    show(scores, predictions.classes, console)
    if scores.all_labelled is None:
        console.print('note: labelled frames without a crop are not known; --ann-file gives them')
    else:
        console.print(
            f'{scores.num_filled} labelled frames without a prediction, filled by {args.fill!r}'
        )
    if scores.empty_clips:
        console.print(f'note: no prediction at all for {shorten(scores.empty_clips)}')
    if args.json:
        with atomic_write(args.json) as draft:
            draft.write_text(json.dumps(asdict(scores), indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
