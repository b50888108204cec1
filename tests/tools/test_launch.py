"""What ``tools/launch.py`` and ``_launch.sh`` print when nodes or processes fail."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def launch(monkeypatch):
    """The module ``tools/launch.py``."""
    monkeypatch.setenv('TORCH_CPP_LOG_LEVEL', 'ERROR')  # the import would set it for all tests
    spec = importlib.util.spec_from_file_location('launch', TOOLS / 'launch.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fail(tmp_path, rank, exitcode, text='', timestamp=0):
    """A failure as torchrun reports it, with what the process has recorded."""
    path = tmp_path / f'{rank}_{exitcode}_{timestamp}.json'
    if text:
        message = dict(message=text, extraInfo=dict(timestamp=str(timestamp), py_callstack=''))
        path.write_text(json.dumps(dict(message=message)))
    failure = ProcessFailure(rank, 100 + rank, exitcode, str(path))
    failure.timestamp = timestamp
    return failure


def test_first_recorded_failure_is_the_cause(launch, tmp_path):
    failures = [
        fail(tmp_path, 0, 1, 'UserError: train.py: later', timestamp=5),
        fail(tmp_path, 1, 1, 'UserError: train.py: first', timestamp=4),
        fail(tmp_path, 2, 1, 'LostProcessError: train.py: another process ended', timestamp=3),
        fail(tmp_path, 3, -15, timestamp=2),
    ]
    assert launch.find_cause(dict(enumerate(failures))) == 'train.py: first'
    assert launch.find_cause({2: failures[2]}) == 'train.py: another process ended'
    assert launch.find_cause({0: fail(tmp_path, 9, 3)}) == ''


def test_signal_is_the_cause_before_a_lost_process(launch, tmp_path):
    failures = [
        fail(tmp_path, 0, -15),
        fail(tmp_path, 1, 1, 'LostProcessError: train.py: another process ended'),
        fail(tmp_path, 2, -9, timestamp=5),
    ]
    line = launch.find_cause(dict(enumerate(failures)))
    assert line.startswith(f'launch.py: rank 2 (process 102) on {socket.gethostname()} was killed')
    assert 'SIGKILL' in line


def test_failure_is_announced_to_the_first_node(launch):
    store = dist.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    args = SimpleNamespace(
        rdzv_backend='static', node_rank=1, master_addr='127.0.0.1', master_port=store.port
    )
    launch.announce(args, 'train.py: a mistake\n(and more)')
    from abaw_mm.engine.processes.meeting import FAILED, PREFIX

    assert dist.PrefixStore(PREFIX, store).get(FAILED) == b'train.py: a mistake'


def run(*command, **env):
    return subprocess.run(
        list(map(str, command)),
        env={**os.environ, 'OMP_NUM_THREADS': '1', **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ('node', 'listens'),
    [
        (0, False),
        pytest.param(1, False, marks=pytest.mark.slow),
        pytest.param(1, True, marks=pytest.mark.slow),
    ],
)
def test_node_that_finds_no_other_ends_with_one_line(node, listens):
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        port = other.getsockname()[1]
        if listens:
            other.listen()  # a program that never answers
        else:
            other.close()
        result = run(
            sys.executable,
            TOOLS / 'launch.py',
            f'--node_rank={node}',
            *('--nnodes=2', '--nproc_per_node=1'),
            *('--master_addr=127.0.0.1', f'--master_port={port}'),
            TOOLS / 'train.py',
            START_TIMEOUT='1',
        )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f'PORT={port}: node {node} of 2 ({socket.gethostname()})' in line
    reason = '1/2 clients joined' if node == 0 else 'no answer' if listens else 'timed out'
    assert reason in line


@pytest.mark.parametrize(
    ('environment', 'message'),
    [
        (dict(NODE_RANK='1'), "NODE_RANK: got '1' with NNODES='1', expected 0 to NNODES-1"),
        (dict(NNODES='2', NODE_RANK='2'), "NODE_RANK: got '2' with NNODES='2'"),
        (dict(NNODES='two'), "NODE_RANK: got '0' with NNODES='two'"),
        (dict(NNODES='2'), "MASTER_ADDR: got nothing with NNODES='2'"),
    ],
)
def test_wrong_numbers_of_nodes(environment, message):
    clean = {'NNODES': '', 'NODE_RANK': '', 'MASTER_ADDR': ''}
    result = run('bash', TOOLS / 'dist_train.sh', 'a.py', 2, **{**clean, **environment})
    assert result.returncode == 2 and result.stderr.startswith(message.split(' ')[0])
    assert message in result.stderr and result.stderr.count('\n') == 1
