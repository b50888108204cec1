"""Let the processes of a run find each other, with a time limit, before their group is started."""

import datetime
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from abaw_mm.engine.processes.network import choose_interface, find_local_address
from abaw_mm.errors import InvalidValueError, LostProcessError, join_first

PREFIX = 'abaw_mm'  # of our keys in the store of a run; tools/launch.py writes FAILED
FAILED = 'failed'
LIMIT_S = 300  # between the first process and the last: they import from one slow disk
POLL_S = 0.1


@contextmanager
def meet_processes(launcher: str, limit_s: float = LIMIT_S) -> Iterator[None]:
    """Wait for all processes, and choose the network interface between their machines.

    Start the process group in the block: the first process keeps the store open for the others.

    torch.distributed waits 30 minutes for absent processes, without a word. Here a process learns
    at once that one of another machine has failed, and the message names the absent ones.

    Does nothing for a single process, or where a process group exists.

    Args:
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        limit_s (float): Time limit, in seconds. Defaults to 300.

    Raises:
        LostProcessError: If a process has failed, or is absent at the end of the limit.
        InvalidValueError: If ``MASTER_ADDR`` or the interface is wrong, or the port is in use.
    """
    world = 1 if launcher == 'none' else int(os.environ['WORLD_SIZE'])
    if world == 1 or dist.is_initialized():
        yield
        return
    rank = int(os.environ['RANK'])
    own = find_local_address(os.environ['MASTER_ADDR'])
    if own is None:
        raise InvalidValueError(
            f'MASTER_ADDR={os.environ["MASTER_ADDR"]!r}: got no route from {socket.gethostname()}, '
            'expected the name or the IP address of the first machine; correct it on all nodes'
        )
    store = PrefixStore(PREFIX, _connect(rank, world, limit_s))
    try:
        store.set(str(rank), json.dumps(dict(host=socket.gethostname(), address=own)))
        _wait(store, world, limit_s)
        found = [json.loads(value) for value in store.multi_get([str(i) for i in range(world)])]
    except dist.DistError as error:
        raise LostProcessError(
            f'{_describe_place()}: lost the connection before all {world} processes were there, '
            'expected the first node to wait for them; its output says why it ended'
        ) from error
    choose_interface(own, [process['address'] for process in found])
    yield


def _connect(rank: int, world: int, limit_s: float) -> Store:
    """Return the store of the run: that of torchrun's agent, or one that rank 0 opens."""
    try:
        timeout = datetime.timedelta(seconds=limit_s)
        return next(rendezvous('env://', timeout=timeout))[0]
    except (dist.DistError, ValueError) as error:
        text = str(error)
    if 'EADDRINUSE' in text:
        raise InvalidValueError(
            f'MASTER_PORT={os.environ["MASTER_PORT"]}: got a port that another program of '
            f'{socket.gethostname()} uses, expected a free one; set MASTER_PORT (PORT with '
            'dist_train.sh) to another one on all nodes'
        )
    raise LostProcessError(
        f'{_describe_place()}: rank {rank} of {world} on {socket.gethostname()} waited '
        f'{limit_s:g} s for the others ({text.splitlines()[0]}); check that MASTER_ADDR is the '
        'first node, that MASTER_PORT is the same everywhere and open between the nodes, and that '
        'all processes were started'
    )


def _wait(store: Store, world: int, limit_s: float) -> None:
    """Wait for all processes.

    Raises:
        LostProcessError: If one has failed, or is absent at the end of the limit.
    """
    end = time.monotonic() + limit_s
    while not store.check([str(rank) for rank in range(world)]):
        if store.check([FAILED]):
            reason = store.get(FAILED).decode()
            raise LostProcessError(f'another node failed: {reason}')
        if time.monotonic() > end:
            absent = [str(rank) for rank in range(world) if not store.check([str(rank)])]
            raise LostProcessError(_explain_absence(absent, world, limit_s))
        time.sleep(POLL_S)


def _explain_absence(absent: Sequence[str], world: int, limit_s: float) -> str:
    return (
        f'{_describe_place()}: got {world - len(absent)} of {world} processes within {limit_s:g} '
        f's, expected all; absent: rank {join_first(absent)}. Their output says why they ended, '
        'or their nodes were not started'
    )


def _describe_place() -> str:
    return f'MASTER_ADDR={os.environ["MASTER_ADDR"]}, MASTER_PORT={os.environ["MASTER_PORT"]}'
