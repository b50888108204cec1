"""A small training that a test can interrupt at a chosen step."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from conftest import write_clip
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from abaw_mm.checkpoints import load_checkpoint_file

REPO = Path(__file__).parents[2]


@HOOKS.register_module(force=True)
class SignalAtStep(Hook):
    """Send this process a signal while a step is computed, or mark that a step has begun."""

    def __init__(self, step, number=None, rank=0, phase='train', marker=None, seconds=0):
        self.step, self.number, self.rank, self.phase = step, number, rank, phase
        self.marker, self.seconds = marker, seconds

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.phase == 'train' and batch_idx + 1 == self.step:
            self.send()
        if self.marker:
            time.sleep(0.1)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if self.phase == 'val' and runner.iter == self.step and batch_idx == 1:
            self.send()

    def send(self):
        if get_rank() == self.rank and self.number is not None:
            os.kill(os.getpid(), self.number)
        if self.marker:
            Path(self.marker).touch()
        time.sleep(self.seconds)


def write_config(folder, workers=1, **settings):
    """Write data and the config of a training of six steps without a regular checkpoint."""
    root, rng = folder / 'data', np.random.default_rng(0)
    for split in ('Train_Set', 'Validation_Set'):
        for i in range(3):
            write_clip(root, split, f'{split}{i}', rng.integers(0, 8, 15).tolist(), size=112)
    loader = dict(num_workers=workers, batch_size=2, dataset=dict(data_root=str(root)))
    settings = {
        'train_dataloader': loader,
        'val_dataloader': dict(loader, batch_size=4),
        'test_dataloader': dict(loader, batch_size=4),
        'train_cfg': dict(max_iters=6, val_interval=100),
        'default_hooks': dict(checkpoint=dict(interval=100), logger=dict(interval=1)),
        'custom_imports': dict(imports=['abaw_mm', 'fault_run'], allow_failed_imports=False),
        **settings,
    }
    config = folder / 'config.py'
    lines = [f'_base_ = [{str(REPO / "configs/res18_srp_demo.py")!r}]']
    config.write_text('\n'.join([*lines, *(f'{k} = {v!r}' for k, v in settings.items()), '']))
    return config


def find_free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def start(tool, *args, processes=1, **options):
    """Start a command of ``tools/`` in a process group of its own."""
    command = [sys.executable, REPO / 'tools' / tool, *args]
    if processes > 1:
        flags = [f'--nproc_per_node={processes}', f'--master_port={find_free_port()}']
        command[1:1] = [REPO / 'tools/launch.py', *flags]
        command += ['--launcher', 'pytorch']
    path = os.pathsep.join(map(str, (REPO, REPO / 'tests', Path(__file__).parent)))
    return subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
        start_new_session=True,
        **options,
    )


def finish(process, timeout=240):
    """Wait for a command; its exit status and its output."""
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


def wait_for(path, process, seconds=180):
    """Wait until a running command has written a file."""
    end = time.monotonic() + seconds
    while not Path(path).exists():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < end
        time.sleep(0.02)


def assert_same_state(one, other):
    """Assert that two checkpoints hold the same weights and momenta, bit for bit."""
    states = [load_checkpoint_file(path) for path in (one, other)]
    weights = [state['state_dict'] for state in states]
    assert set(weights[0]) == set(weights[1])
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
    momenta = [state['optimizer']['state'] for state in states]
    assert momenta[0] and set(momenta[0]) == set(momenta[1])
    for key, values in momenta[0].items():
        assert torch.equal(values['momentum_buffer'], momenta[1][key]['momentum_buffer']), key
    assert states[0]['meta']['iter'] == states[1]['meta']['iter']


def list_drafts(folder):
    """List what an interrupted write could have left."""
    return [str(path) for path in Path(folder).rglob('.*.part*')]


def read_losses(work_dir):
    """Return the loss of each logged step."""
    losses = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in map(json.loads, path.read_text().splitlines()):
            if 'loss' in line:
                losses[line['step']] = line['loss']
    return losses
