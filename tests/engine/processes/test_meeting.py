"""Processes wait for each other with a limit, and say who is absent or failed."""

import json
import os
import socket
import time

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.rendezvous import rendezvous

from abaw_mm.engine.processes.meeting import FAILED, PREFIX, _wait, meet_processes
from abaw_mm.errors import InvalidValueError, LostProcessError


def find_free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def meet(launcher, limit_s):
    with meet_processes(launcher, limit_s):
        pass


@pytest.fixture
def place(monkeypatch):
    """Environment of rank 0 of three processes; returns the port."""
    port = find_free_port()
    for name, value in dict(
        RANK=0, WORLD_SIZE=3, MASTER_ADDR='127.0.0.1', MASTER_PORT=port
    ).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv('TORCHELASTIC_USE_AGENT_STORE', raising=False)
    return port


def test_absent_processes_are_named(place):
    store = dist.HashStore()
    store.set('1', '{}')
    start = time.monotonic()
    with pytest.raises(LostProcessError, match=r'got 1 of 3 processes within 0.2 s.*rank 0, 2\.'):
        _wait(store, 3, 0.2)
    assert time.monotonic() - start < 5
    for rank in ('0', '2'):
        store.set(rank, '{}')
    _wait(store, 3, 0)


def test_failure_on_another_node_ends_the_wait(place):
    store = dist.HashStore()
    store.set(FAILED, 'train.py: no such config')
    with pytest.raises(LostProcessError, match='another node failed: train.py: no such config'):
        _wait(store, 3, 60)


def test_port_in_use(place):
    with socket.create_server(('', place)):
        with pytest.raises(InvalidValueError, match=f'MASTER_PORT={place}.*another program'):
            meet('slurm', 5)


def test_first_process_waits_for_the_others(place):
    with pytest.raises(LostProcessError, match=r'rank 0 of 3 on .* waited 1 s.*1/3 clients'):
        meet('slurm', 1)


def test_wrong_port(place, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    with pytest.raises(LostProcessError, match=f'MASTER_PORT={place}: rank 1 of 3.*waited 1 s'):
        meet('slurm', 1)


def test_address_without_route(place, monkeypatch):
    monkeypatch.setenv('MASTER_ADDR', 'no-such-name.invalid')
    with pytest.raises(InvalidValueError, match="MASTER_ADDR='no-such-name.invalid': got no route"):
        meet('slurm', 1)


@pytest.mark.parametrize(('launcher', 'world'), [('none', '3'), ('slurm', '1')])
def test_single_process_meets_nobody(place, monkeypatch, launcher, world):
    monkeypatch.setenv('WORLD_SIZE', world)
    monkeypatch.setenv('MASTER_ADDR', 'no-such-name.invalid')
    meet(launcher, 1)


def meet_in_process(rank, port):
    os.environ.update(
        RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port)
    )
    with meet_processes('slurm', 60):
        assert 'GLOO_SOCKET_IFNAME' not in os.environ  # one machine
        dist.init_process_group('gloo')  # on the same port
    store = dist.PrefixStore(PREFIX, next(rendezvous('env://'))[0])
    assert json.loads(store.get('1'))['address'] == '127.0.0.1'
    dist.barrier()


@pytest.mark.slow
def test_two_processes_meet_and_start_their_group():
    mp.spawn(meet_in_process, (find_free_port(),), nprocs=2)
