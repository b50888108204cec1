#!/usr/bin/env python
"""Score a checkpoint on the test set of a config.

    python tools/test.py configs/res50_srp_affwild2.py CHECKPOINT --out predictions.npz
    bash tools/dist_test.sh configs/res50_srp_affwild2.py CHECKPOINT 2

Exit status: 0; 1 after an error, of which one message tells (ABAW_MM_TRACEBACK=1: where it arose);
2 for wrong flags.
"""

import sys

from abaw_mm.apis import test
from abaw_mm.cli import (
    ToolParser,
    report_errors,
)


@report_errors
def main() -> None:
    """Test."""
    parser = ToolParser('Score a checkpoint', 'test_evaluator.absent=skip')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        '--out', help="file for every frame's scores (.npz, .csv, .pkl) or the metrics (.json)"
    )
    parser.add_argument(
        '--out-item', choices=['metrics', 'pred'], default='pred', help='what goes to --out'
    )
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--show', action='store_true', help='show the pictures in a window')
    parser.add_argument('--interval', type=int, default=1, help='a picture every so many frames')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a window stays')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    test(**parser.parse())


if __name__ == '__main__':
    sys.exit(main())
