#!/usr/bin/env python
"""Train a model from a config.

    python tools/train.py configs/res50_srp_affwild2.py
    bash tools/dist_train.sh configs/res50_srp_affwild2.py 2

Exit status: 0; 1 after an error, of which one message tells (ABAW_MM_TRACEBACK=1: where it arose);
2 for wrong flags.
"""

import sys

from abaw_mm.apis import train
from abaw_mm.cli import (
    ToolParser,
    report_errors,
)


@report_errors
def main() -> None:
    """Train."""
    parser = ToolParser('Train a model', 'checkpoint=weights.pth train_cfg.max_iters=100')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, or from the latest one of the work dir',
    )
    parser.add_argument(
        '--no-validate',
        dest='validate',
        action='store_false',
        help='do not score the validation set during training',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch over all processes',
    )
    parser.add_argument(
        '--tensorboard', action='store_true', help='write the curves for TensorBoard, too'
    )
    parser.add_argument('--no-persistent-workers', dest='persistent_workers', action='store_false')
    train(**parser.parse())


if __name__ == '__main__':
    sys.exit(main())
