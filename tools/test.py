#!/usr/bin/env python
"""Score a checkpoint on the test set of a config.

    python tools/test.py configs/res50_srp_affwild2.py CHECKPOINT --out predictions.npz
    bash tools/dist_test.sh configs/res50_srp_affwild2.py CHECKPOINT 2
"""

import argparse
import os

from mmengine.config import DictAction
from torch.distributed.elastic.multiprocessing.errors import record

from abaw_mm.apis import test


def parse_args() -> argparse.Namespace:
    """Flags, named as those of mmpretrain's own tool."""
    parser = argparse.ArgumentParser(description='Score a checkpoint')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--work-dir', help='folder for the log')
    parser.add_argument(
        '--out', help="file for every frame's scores (.npz, .csv, .pkl) or the metrics (.json)")
    parser.add_argument(
        '--out-item', choices=['metrics', 'pred'], default='pred', help='what goes to --out')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='overrides of the config, e.g. test_evaluator.absent=skip')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--show', action='store_true', help='show the pictures in a window')
    parser.add_argument('--interval', type=int, default=1, help='a picture every so many frames')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a window stays')
    parser.add_argument('--no-pin-memory', dest='pin_memory', action='store_false')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='for launchers')
    return parser.parse_args()


@record  # torchrun then shows the message of the process that failed first
def main() -> None:
    """Test."""
    args = vars(parse_args())
    os.environ.setdefault('LOCAL_RANK', str(args.pop('local_rank')))
    test(**args)


if __name__ == '__main__':
    main()
