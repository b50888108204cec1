#!/usr/bin/env python
"""Average, adjust and smooth predictions, without the network.

    python tools/analysis_tools/postprocess_predictions.py test.npz --out smooth.npz \\
        --method box --width 50
    python tools/analysis_tools/postprocess_predictions.py seed0.npz seed1.npz --out mean.npz

The steps, in this order: mean of the probabilities of several files; --tau; --method and --width;
--hold. search_smoothing.py finds a width. See docs/submission.md.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from abaw_mm.cli import CommandParser, report_errors, smoothing_arguments
from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.postprocess import Postprocess, average, class_shares


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, smoothing_arguments())
    parser.add_argument('predictions', nargs='+', help='.npz written by tools/test.py --out')
    parser.add_argument('--out', required=True, help='predictions file to write')
    parser.add_argument(
        '--tau',
        type=float,
        default=0.0,
        help='divide probabilities by the class frequencies to this power; default: 0, unchanged',
    )
    parser.add_argument(
        '--prior-from', nargs='+', metavar='DIR', help='annotations of the training set, for --tau'
    )
    args = parser.parse_args(argv)
    if args.prior_from and not args.tau:
        parser.error('--prior-from: got no --tau, expected a value above 0, usually up to 1')
    return args


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Write the predictions file."""
    args = parse_args(argv)
    parts = [Predictions.read(path) for path in args.predictions]
    prior = None
    if args.prior_from:
        prior = class_shares(read_annotation_folder(args.prior_from), len(parts[0].classes))
    process = Postprocess(prior, args.tau, args.method, args.width, args.hold)
    mean = average(parts, args.predictions)
    out = process(mean)
    out.write(args.out)
    changed = np.count_nonzero(out['pred_label'] != mean['pred_label'])
    source = f'the mean of {len(parts)} files' if len(parts) > 1 else args.predictions[0]
    print(f'{args.out}: {len(out)} frames, {changed} with another class than in {source}')
    print(f'source: {out.source}')


if __name__ == '__main__':
    sys.exit(main())
