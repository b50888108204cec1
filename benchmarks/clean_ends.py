#!/usr/bin/env python
"""Count how two-process runs of train.py, test.py and extract_features.py end.

    python benchmarks/clean_ends.py --runs 200
    python benchmarks/clean_ends.py --runs 200 --keep-group

Each run is a whole command in two processes (gloo, on the CPU) on a few drawn crops. The processes
are forked from one that has imported everything, and end as a command does: through Python's
finalization. A run ends cleanly if both exit with status 0. ``--keep-group`` leaves out what the
commands do at the end, which is to destroy the process group.
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import torch
from common import describe_machine, make_crops

from abaw_mm.apis import extract_features, test, train

CONFIG = str(Path(__file__).parents[1] / 'configs/res18_srp_demo.py')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
COMMANDS = ('train', 'test', 'extract')


def run_command(command: str, folder: Path, number: int) -> None:
    """Run a command in this process, one of two."""
    options = dict(
        config=CONFIG,
        work_dir=str(folder / f'{command}{number}'),
        launcher='pytorch',
        cfg_options={
            'train_cfg.max_iters': 2,
            'train_cfg.val_interval': 2,
            **{f'{name}.batch_size': 4 for name in LOADERS},
            **{f'{name}.dataset.data_root': str(folder / 'data') for name in LOADERS},
            'val_dataloader.dataset.ann_file': 'annotations/EXPR_Recognition_Challenge/Train_Set',
            'test_dataloader.dataset.ann_file': 'annotations/EXPR_Recognition_Challenge/Train_Set',
        },
    )
    if command == 'train':
        train(**options)
        return
    checkpoint = str(folder / 'train0/iter_2.pth')
    if command == 'test':
        test(checkpoint=checkpoint, out=str(folder / f'{number}.npz'), **options)
    else:
        extract_features(checkpoint=checkpoint, out=str(folder / f'features{number}'), **options)


def start_processes(command: str, folder: Path, number: int) -> list[int]:
    """Fork the two processes of a run; returns their ids, and an empty list in these processes."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    pids = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            os.environ.update(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE='2',
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=str(port),
            )
            log = os.open(folder / f'{command}{number}.{rank}.log', os.O_CREAT | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            run_command(command, folder, number)
            return []
        pids.append(pid)
    return pids


def describe(status: int) -> str:
    """Describe how a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f'exit {code}'


def count_clean(ends: dict[str, Counter]) -> int:
    """Count the runs of all commands whose two processes ended with status 0."""
    return sum(counts['exit 0, exit 0'] for counts in ends.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run, count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--runs', type=int, default=200)
    parser.add_argument('--keep-group', action='store_true', help='do not destroy the group')
    args = parser.parse_args(argv)
    if args.keep_group:
        mock.patch('torch.distributed.destroy_process_group').start()
    torch.set_num_threads(1)
    print(f'{args.runs} runs, keep_group={args.keep_group}; {describe_machine()}', flush=True)
    ends: dict[str, Counter] = {command: Counter() for command in COMMANDS}
    start = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix='clean_ends'))
    make_crops(folder / 'data', clips=2, lines=8)
    for number in range(args.runs):
        command = COMMANDS[number % len(COMMANDS)]
        pids = start_processes(command, folder, number)
        if not pids:
            return 0  # a process of a run: end as a command does
        statuses = [describe(os.waitpid(pid, 0)[1]) for pid in pids]
        ends[command][', '.join(statuses)] += 1
        if set(statuses) != {'exit 0'}:
            print(f'run {number}, {command}: {", ".join(statuses)}', flush=True)
            for rank in range(2):
                log = (folder / f'{command}{number}.{rank}.log').read_text(errors='replace')
                print(*log.splitlines()[-8:], sep='\n', flush=True)
        if (number + 1) % 20 == 0:
            print(f'{count_clean(ends)} of {number + 1} runs ended cleanly', flush=True)
    for command, counts in ends.items():
        print(f'{command}: ' + '; '.join(f'{n} x ({end})' for end, n in counts.items()))
    clean = count_clean(ends)
    print(f'{clean} of {args.runs} runs ended cleanly, in {time.monotonic() - start:.0f} s')
    return int(clean < args.runs)


if __name__ == '__main__':
    sys.exit(main())
