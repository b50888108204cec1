#!/usr/bin/env python
"""Train a model from a config.

    python tools/train.py configs/res50_srp_affwild2.py
    bash tools/dist_train.sh configs/res50_srp_affwild2.py 2
"""

import argparse
import os

from mmengine.config import DictAction
from torch.distributed.elastic.multiprocessing.errors import record

from abaw_mm.apis import train


def parse_args() -> argparse.Namespace:
    """Flags, named as those of mmpretrain's own tool."""
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CHECKPOINT',
        help='go on from a checkpoint, or from the latest one of the work dir')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--no-validate', dest='validate', action='store_false',
        help='do not score the validation set during training')
    parser.add_argument(
        '--auto-scale-lr', action='store_true',
        help='scale the learning rate with the batch over all processes')
    parser.add_argument(
        '--tensorboard', action='store_true', help='write the curves for TensorBoard, too')
    parser.add_argument('--no-pin-memory', dest='pin_memory', action='store_false')
    parser.add_argument('--no-persistent-workers', dest='persistent_workers', action='store_false')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='overrides of the config, e.g. checkpoint=weights.pth train_cfg.max_iters=100')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='for launchers')
    return parser.parse_args()


@record  # torchrun then shows the message of the process that failed first
def main() -> None:
    """Train."""
    args = vars(parse_args())
    os.environ.setdefault('LOCAL_RANK', str(args.pop('local_rank')))
    train(**args)


if __name__ == '__main__':
    main()
