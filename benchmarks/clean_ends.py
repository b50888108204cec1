#!/usr/bin/env python
"""Count how two-process runs of train.py, test.py and extract_features.py end.

    python benchmarks/clean_ends.py --runs 200 --json ends.json
    python benchmarks/clean_ends.py --runs 60 --slow-threads --keep-group

Each run is a whole command in two processes (gloo, on the CPU) on a few drawn crops. The processes
are forked from one that has imported everything, and end as a command does: through Python's
finalization. A run ends cleanly if both exit with status 0. With ``--json``, runs that the file
already has are not run again.

A thread of gloo that still frees the tensors of an operation when Python ends aborts its process.
This is rare, since it takes a thread that is not scheduled for milliseconds. ``--slow-threads``
makes it likely: the threads of gloo get only time of the first core that no other thread wants.
``--keep-group`` leaves out what the commands do at the end, which is to destroy the process
group.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from unittest import mock

import mmengine.config.config
import torch
from common import describe_machine, make_crops
from mmengine.config import Config
from mmpretrain.registry import MODELS

from abaw_mm.apis import extract_features, test, train

CONFIG = str(Path(__file__).parents[1] / 'configs/res18_srp_demo.py')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
COMMANDS = ('train', 'test', 'extract')
CLEAN = 'exit 0, exit 0'


def run_command(command: str, folder: Path) -> None:
    """Run a command in this process, one of two."""
    options = dict(
        config=CONFIG,
        work_dir=str(folder / 'run/log'),
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
    checkpoint = str(folder / 'weights.pth')
    if command == 'test':
        test(checkpoint=checkpoint, out=str(folder / 'run/scores.npz'), **options)
    else:
        extract_features(checkpoint=checkpoint, out=str(folder / 'run/features'), **options)


def start_processes(command: str, folder: Path) -> list[int]:
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
            log = os.open(folder / f'run/{rank}.log', os.O_CREAT | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            run_command(command, folder)
            return []
        pids.append(pid)
    return pids


def wait(pids: list[int], slow_threads: bool) -> str:
    """Wait for the processes of a run, and describe how they ended."""
    ends: dict[int, str] = {}
    while len(ends) < len(pids):
        for pid in set(pids) - set(ends):
            if slow_threads:
                slow_down_gloo(pid)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                ends[pid] = signal.Signals(-code).name if code < 0 else f'exit {code}'
        time.sleep(0.01)
    return ', '.join(ends[pid] for pid in pids)


def slow_down_gloo(pid: int) -> None:
    """Give the threads of gloo in a process only time that no other thread wants."""
    with suppress(OSError):  # a thread or the process has ended
        for task in Path(f'/proc/{pid}/task').iterdir():
            if 'gloo' in (task / 'comm').read_text():
                os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))


def make_weights(path: Path) -> None:
    """Write a checkpoint of random weights."""
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--runs', type=int, default=200)
    parser.add_argument(
        '--keep-group', action='store_true', help='do not free and destroy the group'
    )
    parser.add_argument('--slow-threads', action='store_true', help='slow down the threads of gloo')
    parser.add_argument('--json', type=Path, help='write how each run ended to this file')
    args = parser.parse_args(argv)
    if args.keep_group:
        mock.patch('abaw_mm.compat.cpu.gc').start()
        mock.patch('torch.distributed.destroy_process_group').start()
    if args.slow_threads:
        os.sched_setaffinity(0, {0})
    torch.set_num_threads(1)
    # Formatting the config would be most of a run.
    mmengine.config.config.FormatCode = lambda code, **kwargs: (code, True)
    print(
        f'{args.runs} runs, keep_group={args.keep_group}, slow_threads={args.slow_threads}; '
        f'{describe_machine()}',
        flush=True,
    )
    ends = json.loads(args.json.read_text()) if args.json and args.json.is_file() else []
    start = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix='clean_ends'))
    make_crops(folder / 'data', clips=2, lines=8)
    make_weights(folder / 'weights.pth')
    for number in range(len(ends), args.runs):
        command = COMMANDS[number % len(COMMANDS)]
        (folder / 'run').mkdir()
        pids = start_processes(command, folder)
        if not pids:
            return 0  # a process of a run: end as a command does
        end = wait(pids, args.slow_threads)
        if end != CLEAN:
            print(f'run {number}, {command}: {end}', flush=True)
            for rank in range(2):
                log = (folder / f'run/{rank}.log').read_text(errors='replace')
                print(*log.splitlines()[-8:], sep='\n', flush=True)
        shutil.rmtree(folder / 'run')
        ends.append([command, end])
        if args.json:
            args.json.write_text(json.dumps(ends) + '\n')
        if (number + 1) % 20 == 0:
            clean = sum(end == CLEAN for _, end in ends)
            print(f'{clean} of {number + 1} runs ended cleanly', flush=True)
    shutil.rmtree(folder)
    for (command, end), count in Counter(map(tuple, ends)).items():
        print(f'{command}: {count} x ({end})')
    clean = sum(end == CLEAN for _, end in ends)
    print(f'{clean} of {args.runs} runs ended cleanly, in {time.monotonic() - start:.0f} s')
    return int(clean < args.runs)


if __name__ == '__main__':
    sys.exit(main())
