#!/usr/bin/env python
"""From predictions to what a challenge is sent, and a check of it.

    python tools/make_submission.py predictions.npz --frames test_set_format.txt \
        --out predictions.txt
    python tools/make_submission.py --check predictions.txt --frames test_set_format.txt

docs/submission.md has the whole way.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from abaw_mm.cli import report_errors
from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.errors import shorten
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.submission.check_submission import check_submission
from abaw_mm.evaluation.submission.gap_filler import (
    RULES,
    FilledFrames,
    GapFiller,
)
from abaw_mm.evaluation.submission.submission import Submission
from abaw_mm.files import atomic_write

STATUS = """exit status:
  0  the submission is written, or the one that was checked is in order
  1  the one that was checked would be rejected
  2  nothing was written or checked: wrong arguments, or files that do not fit each other"""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('predictions', nargs='?', help='.npz that tools/test.py --out wrote')
    parser.add_argument('--frames', required=True, help="the challenge's list of frames")
    parser.add_argument('--out', help='file to write; with --format per-clip a folder')
    parser.add_argument(
        '--format',
        choices=['list', 'per-clip'],
        default='list',
        help='one file with a row a frame (editions from 5 on), or a file a clip (1 to 3)',
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
        '--filename-tmpl', default='{:05d}.jpg', help='file name of a frame in the list'
    )
    parser.add_argument(
        '--check', metavar='SUBMISSION', help='write nothing, check this file or folder'
    )
    args = parser.parse_args(argv)
    if args.check and (args.predictions or args.out):
        parser.error('--check: got predictions or --out as well, expected only --frames with it')
    if not args.check and not (args.predictions and args.out):
        parser.error('got no predictions or no --out, expected both, or --check SUBMISSION')
    return args


def tell(submission: Submission, filled: FilledFrames, args: argparse.Namespace) -> None:
    """Say what was written, and how much of it was filled."""
    number = np.count_nonzero(filled.filled)
    print(
        f'{args.out}: {len(submission)} frames of {len(submission.clips)} clips; {number} '
        f'without a prediction ({number / len(submission):.2%}), filled by {args.fill!r}'
    )
    if filled.empty_clips:
        chosen = args.empty_clip or args.fill
        print(
            f'note: no prediction at all for {len(filled.empty_clips)} clips, all of whose '
            f'frames are {chosen}: {shorten(filled.empty_clips)}'
        )
    counts = np.bincount(submission.label, minlength=len(EXPRESSIONS))
    print('  '.join(f'{name} {n}' for name, n in zip(EXPRESSIONS, counts, strict=True)))


def check(args: argparse.Namespace) -> int:
    """Read a submission back."""
    problems = check_submission(args.check, args.frames, args.filename_tmpl)
    if problems:
        print(*problems, sep='\n', file=sys.stderr)
        print(
            f'{args.check}: would be rejected; make it again with tools/make_submission.py',
            file=sys.stderr,
        )
        return 1
    print(f'{args.check}: in order, a class for every frame of {args.frames}')
    return 0


def make(args: argparse.Namespace) -> int:
    """Write a submission."""
    filler = GapFiller(args.fill, args.start_class, args.empty_clip)
    predictions = Predictions.read(args.predictions)
    predictions.expect_classes(EXPRESSIONS, args.predictions)
    submission, filled = Submission.answer(args.frames, predictions, filler, args.filename_tmpl)
    if args.format == 'per-clip':
        submission.write_per_clip(args.out)
    else:
        with atomic_write(args.out) as draft:
            submission.write_list(draft)
    tell(submission, filled, args)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        return check(args) if args.check else make(args)
    except (ValueError, OSError) as error:
        print(f'make_submission: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(report_errors(main)())
