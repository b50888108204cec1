#!/usr/bin/env python
"""Average, adjust and smooth predictions, without the network.

    python tools/analysis_tools/postprocess_predictions.py test.npz --out smooth.npz \\
        --method box --width 50
    python tools/analysis_tools/postprocess_predictions.py seed0.npz seed1.npz --out mean.npz

The steps, in this order: mean of the probabilities of several files, with --weights; --gate; --tau;
--method and --width; --bias; --hold. search_postprocessing.py finds values. See docs/submission.md.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from abaw_mm.cli import CommandParser, report_errors, smoothing_arguments
from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.ensemble import average, gate
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess, class_shares


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, smoothing_arguments())
    parser.add_argument('predictions', nargs='+', help='.npz written by tools/test.py --out')
    parser.add_argument('--out', required=True, help='predictions file to write')
    parser.add_argument(
        '--weights', nargs='+', type=float, metavar='W', help='weight of each file in the mean'
    )
    parser.add_argument(
        '--gate',
        type=float,
        metavar='CONFIDENCE',
        help='use the probabilities of --gate-with where its highest one is at least this',
    )
    parser.add_argument('--gate-with', metavar='FILE', help='.npz of the second model, for --gate')
    parser.add_argument(
        '--tau',
        type=float,
        default=0.0,
        help='divide probabilities by the class frequencies to this power; default: 0, unchanged',
    )
    parser.add_argument(
        '--prior-from', nargs='+', metavar='DIR', help='annotations of the training set, for --tau'
    )
    parser.add_argument(
        '--bias',
        nargs='+',
        type=float,
        metavar='B',
        help='add to the log probability of each class, after the smoothing',
    )
    parser.add_argument(
        '--threshold',
        nargs='+',
        type=float,
        metavar='P',
        help="lowest probability of 'present', one for all action units or one for each",
    )
    args = parser.parse_args(argv)
    if (args.gate is None) != (args.gate_with is None):
        parser.error('--gate and --gate-with: got one of them, expected both')
    if args.method is not None and not args.width:
        parser.error('--method: has no effect without --width; give a width')
    args.method = args.method or 'box'
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
    bias = tuple(args.bias) if args.bias else None
    threshold = tuple(args.threshold) if args.threshold else None
    process = Postprocess(prior, args.tau, args.method, args.width, args.hold, bias, threshold)
    mean = average(parts, args.predictions, args.weights)
    gated = mean
    if args.gate is not None:
        gated = gate(mean, Predictions.read(args.gate_with), args.gate, args.gate_with)
    out = process(gated)
    out.write(args.out)
    source = f'the mean of {len(parts)} files' if len(parts) > 1 else args.predictions[0]
    names = ('pred_label', 'pred_va', 'pred_au')
    changed = {
        name: np.count_nonzero((out[name] != mean[name]).reshape(len(out), -1).any(axis=1))
        for name in names
        if name in out.columns
    }
    if out.task == 'expr':
        what = f'{changed["pred_label"]} with another class than in {source}'
    else:
        what = ', '.join(f'{number} with another {name}' for name, number in changed.items())
        what += f' than in {source}'
    print(f'{args.out}: {len(out)} frames, {what}')
    print(f'source: {out.source}')


if __name__ == '__main__':
    sys.exit(main())
