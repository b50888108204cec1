#!/usr/bin/env python
"""Train a model from a config.

    python tools/train.py configs/res50_srp_affwild2.py
    bash tools/dist_train.sh configs/res50_srp_affwild2.py 2

Arguments are named as in mmpretrain's own tools.
"""

import sys
from collections.abc import Sequence

from abaw_mm.apis import train
from abaw_mm.cli import RunParser, report_errors


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Train the model."""
    parser = RunParser(__doc__, 'checkpoint=weights.pth train_cfg.max_iters=100')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint, or from the latest one of the work dir',
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
        help='scale the learning rate with the batch size over all processes',
    )
    parser.add_argument(
        '--tensorboard', action='store_true', help='also write the curves for TensorBoard'
    )
    parser.add_argument(
        '--no-persistent-workers',
        dest='persistent_workers',
        action='store_false',
        help='restart the workers of the data loaders in each epoch',
    )
    train(**parser.parse(argv))


if __name__ == '__main__':
    sys.exit(main())
