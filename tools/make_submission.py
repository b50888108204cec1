#!/usr/bin/env python
"""Write a challenge's submission from predictions, or check one.

    python tools/make_submission.py predictions.npz --frames test_set_format.txt \\
        --out predictions.txt
    python tools/make_submission.py --check predictions.txt --frames test_set_format.txt

Status 1 of --check means that the challenge would reject the submission. See docs/submission.md.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from abaw_mm.cli import CommandParser, fill_arguments, report_errors, template_argument
from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.errors import shorten
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.submission.check_submission import check_submission, find_list_task
from abaw_mm.evaluation.submission.fill_tracks import make_filler
from abaw_mm.evaluation.submission.gap_filler import find_empty_clips
from abaw_mm.evaluation.submission.submission import Submission
from abaw_mm.files import atomic_write
from abaw_mm.structures.tasks import TASKS, get_targets


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, fill_arguments(), template_argument())
    parser.add_argument('predictions', nargs='?', help='.npz written by tools/test.py --out')
    parser.add_argument('--frames', required=True, help="the challenge's list of frames")
    parser.add_argument('--out', help='file to write; a folder with --format per-clip')
    parser.add_argument(
        '--format',
        choices=['list', 'per-clip'],
        default='list',
        help='list: one file with one line per frame (editions from 5 on); per-clip: one file per '
        'clip (editions 1 to 3); default: list',
    )
    parser.add_argument(
        '--check', metavar='SUBMISSION', help='check this file or folder, write nothing'
    )
    parser.add_argument(
        '--task',
        choices=list(TASKS),
        help='track of --check; default: that of the header of --frames',
    )
    args = parser.parse_args(argv)
    if args.check and (args.predictions or args.out):
        parser.error('--check: got predictions or --out as well, expected only --frames')
    if not args.check and not (args.predictions and args.out):
        parser.error('got no predictions or no --out, expected both, or --check SUBMISSION')
    return args


def check(args: argparse.Namespace) -> int:
    """Check a submission; returns the exit status."""
    problems = check_submission(args.check, args.frames, args.filename_tmpl, args.task)
    if problems:
        print(*problems, sep='\n', file=sys.stderr)
        print(
            f'{args.check}: would be rejected; write it again with tools/make_submission.py',
            file=sys.stderr,
        )
        return 1
    name = 'answer' if find_list_task(args.frames, args.task) != 'expr' else 'class'
    print(f'{args.check}: in order, one {name} for every frame of {args.frames}')
    return 0


def make(args: argparse.Namespace) -> None:
    """Write a submission."""
    predictions = Predictions.read(args.predictions)
    if args.task:
        predictions.check_task([args.task], args.predictions)
    if predictions.classes:
        predictions.check_classes(EXPRESSIONS, args.predictions)
    filler = make_filler(predictions.task, args.fill, args.start_class, args.empty_clip)
    submission = Submission.answer(args.frames, predictions, filler, args.filename_tmpl)
    if args.format == 'per-clip':
        submission.write_per_clip(args.out)
    else:
        with atomic_write(args.out) as draft:
            submission.write_list(draft)
    print(f'source: {predictions.source}')
    print_summary(submission, find_empty_clips(predictions, submission.clips), args)


def print_summary(submission: Submission, empty_clips: list[str], args: argparse.Namespace) -> None:
    """Print what was written, and how many frames were filled."""
    number = np.count_nonzero(submission['is_filled'])
    print(
        f'{args.out}: {len(submission)} frames of {len(submission.clips)} clips; {number} '
        f'without a prediction ({number / len(submission):.2%}), filled by {args.fill!r}'
    )
    if empty_clips:
        chosen = args.empty_clip or args.fill
        print(
            f'note: {len(empty_clips)} clips without any prediction, filled with {chosen}: '
            f'{shorten(empty_clips)}'
        )
    for target in get_targets(submission.task):
        values = submission[target.column]
        if target.is_class:
            counts = np.bincount(values, minlength=len(target.names)).tolist()
        elif values.dtype.kind == 'f':
            counts = [f'{x:+.3f}' for x in values.mean(axis=0)]
        else:
            counts = values.sum(axis=0).tolist()
        print('  '.join(f'{name} {n}' for name, n in zip(target.names, counts, strict=True)))


@report_errors
def main(argv: Sequence[str] | None = None) -> int | None:
    """Write or check a submission."""
    args = parse_args(argv)
    return check(args) if args.check else make(args)


if __name__ == '__main__':
    sys.exit(main())
