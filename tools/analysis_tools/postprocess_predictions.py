#!/usr/bin/env python
"""Average, adjust and smooth predictions into another predictions file. No GPU.

    python tools/analysis_tools/postprocess_predictions.py test.npz --out smooth.npz \
        --method box --width 50
    python tools/analysis_tools/postprocess_predictions.py seed0.npz seed1.npz --out mean.npz

In this order: the mean of several files' probabilities, --tau, --method and --width, --hold.
docs/submission.md tells what they do; search_smoothing.py finds a width.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from abaw_mm.cli import report_errors
from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.postprocess import (
    Postprocess,
    average,
    class_shares,
)
from abaw_mm.evaluation.predictions.smoothing import METHODS


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog='exit status: 0; 1 after an error; 2 for wrong flags',
    )
    parser.add_argument('predictions', nargs='+', help='.npz that tools/test.py --out wrote')
    parser.add_argument('--out', required=True, help='predictions file to write')
    parser.add_argument(
        '--tau',
        type=float,
        default=0.0,
        help="divide probabilities by the classes' shares to this power; default: 0, not at all",
    )
    parser.add_argument(
        '--prior-from', nargs='+', metavar='DIR', help='annotations of the training set, for --tau'
    )
    parser.add_argument('--method', choices=METHODS, default='box', help='default: box')
    parser.add_argument(
        '--width',
        type=int,
        default=0,
        help='of the smoothing: frames before and after, of gaussian the standard deviation',
    )
    parser.add_argument(
        '--hold',
        type=int,
        default=0,
        help='frames that a class has to last; shorter runs keep the class before',
    )
    args = parser.parse_args(argv)
    if args.prior_from and not args.tau:
        parser.error('--prior-from: got no --tau, expected one from above 0, usually to 1')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file."""
    args = parse_args(argv)
    parts = [Predictions.read(path) for path in args.predictions]
    prior = None
    if args.prior_from:
        prior = class_shares(read_annotation_folder(args.prior_from), len(parts[0].classes))
    process = Postprocess(prior, args.tau, args.method, args.width, args.hold)
    mean = average(parts, args.predictions)
    out = process(mean)
    out.write(args.out)
    changed = np.count_nonzero(out.pred_label != mean.pred_label)
    of_what = f'the mean of {len(parts)} files' if len(parts) > 1 else args.predictions[0]
    print(f'{args.out}: {len(out)} frames, {changed} of another class than in {of_what}')
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
