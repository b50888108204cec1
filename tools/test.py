#!/usr/bin/env python
"""Score a checkpoint, or an exported network, on the test set of a config.

    python tools/test.py configs/res50_srp_affwild2.py CHECKPOINT --out predictions.npz
    bash tools/dist_test.sh configs/res50_srp_affwild2.py CHECKPOINT 2
    python tools/test.py configs/res50_srp_affwild2.py --onnx res50.onnx

Arguments are named as in mmpretrain's own tools.
"""

import sys
from collections.abc import Sequence

from abaw_mm.apis import test
from abaw_mm.cli import RunParser, onnx_argument, report_errors


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Score the checkpoint."""
    parser = RunParser(__doc__, 'test_evaluator.absent=skip', onnx_argument())
    parser.add_argument('checkpoint', nargs='?', help='path or URL of the checkpoint')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='file for the scores of every frame (.npz, .csv, .pkl), or for the metrics (.json)',
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        default='pred',
        help='what to write to --out (default: %(default)s)',
    )
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures to DIR/<clip>/')
    parser.add_argument('--show', action='store_true', help='show the pictures in a window')
    parser.add_argument(
        '--interval',
        type=int,
        default=1,
        metavar='FRAMES',
        help='frames from one picture to the next (default: %(default)s)',
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        metavar='SECONDS',
        help='how long a window stays open (default: %(default)s)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: average the scores of each frame and its mirror image',
    )
    test(**parser.parse(argv))


if __name__ == '__main__':
    sys.exit(main())
