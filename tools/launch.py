"""Start several processes as torchrun does, and print the first error of all of them only once.

    python tools/launch.py --nproc_per_node=2 tools/train.py CONFIG --launcher pytorch

Arguments as torchrun's. The exit status is that of a process that failed; 1 if a signal killed one,
for example for lack of memory.

The launchers of several nodes wait 30 seconds for each other, or START_TIMEOUT of the environment.

SIGTERM and Ctrl-C are passed on, so that a training saves a checkpoint; the exit status is 143 or
130. A second Ctrl-C ends all processes at once (Linux).
"""

import argparse
import datetime
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'FATAL')  # read here: sockets warn while they wait

# isort: split
import torch.distributed as dist
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousInfo
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

ENDED = {-signal.SIGTERM, 128 + signal.SIGTERM}  # statuses of processes that torchrun ends
GRACE_S = 5  # for torch's own report of the same limit
PATIENCE_S = 60  # for the end of a step and a checkpoint
LOST = 'LostProcessError: '  # another process is the cause
START_TIMEOUT = 'START_TIMEOUT'
STORE = 'abaw_mm', 'failed'  # prefix and key of abaw_mm.engine.processes.meeting


def main() -> int:
    """Start the processes and wait for them."""
    shows_traceback = bool(os.environ.get('ABAW_MM_TRACEBACK'))
    if os.environ['TORCH_CPP_LOG_LEVEL'] == 'FATAL':
        os.environ['TORCH_CPP_LOG_LEVEL'] = 'ERROR'  # of the processes
    if not shows_traceback:
        os.environ['ABAW_MM_LAUNCHED'] = '1'  # the processes only record their errors
        # The first reports every process that failed, and every one stopped because of that; the
        # second what the launchers of several nodes do.
        for name in ('multiprocessing.api', 'agent.server.api'):
            logging.getLogger(f'torch.distributed.elastic.{name}').setLevel(logging.CRITICAL)
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # torchrun does the same, with a warning
    os.environ.setdefault('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', str(PATIENCE_S))
    args = run.parse_args(sys.argv[1:])
    args.signals_to_handle = 'SIGTERM,SIGHUP,SIGQUIT'
    if args.rdzv_backend == 'static':
        args.rdzv_conf = args.rdzv_conf or f'timeout={os.environ.get(START_TIMEOUT, 30)}'
    signal.signal(signal.SIGINT, interrupt)
    try:
        with limit_start(args):
            run.run(args)
    except ChildFailedError as error:
        if shows_traceback:
            raise
        return report(error, args)
    except SignalException as error:  # Ctrl-C, or a time limit of the cluster
        if error.sigval == signal.SIGINT:
            print('interrupted', file=sys.stderr)
        return 128 + error.sigval
    except dist.DistError as error:
        if shows_traceback:
            raise
        print(explain_start(args, str(error)), file=sys.stderr)
        return 1
    return 0


@contextmanager
def limit_start(args: argparse.Namespace) -> Iterator[None]:
    """End this launcher if another program holds the port of the first node and never answers.

    The time limit of torch's store does not count while the store waits for its first answer.
    """
    original = StaticTCPRendezvous.next_rendezvous

    def give_up() -> None:
        print(explain_start(args, 'no answer from this address and port'), file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)

    def next_rendezvous(self: StaticTCPRendezvous) -> RendezvousInfo:
        timer = threading.Timer(self.timeout.total_seconds() + GRACE_S, give_up)
        timer.daemon = True
        timer.start()
        try:
            return original(self)
        finally:
            timer.cancel()

    StaticTCPRendezvous.next_rendezvous = next_rendezvous
    try:
        yield
    finally:
        StaticTCPRendezvous.next_rendezvous = original


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Let torchrun pass a first Ctrl-C on. At the second, end, and so all processes."""
    signal.signal(number, lambda *_: os._exit(128 + number))
    raise SignalException('interrupted', signal.Signals(number))


def report(error: ChildFailedError, args: argparse.Namespace) -> int:
    """Print the first recorded failure and return the exit status."""
    failures = error.failures
    statuses = {failure.exitcode for failure in failures.values()}
    if statuses <= ENDED and max(statuses) > 0:  # a cluster has ended the processes themselves
        return max(statuses)
    text = find_cause(failures)
    if text:
        print(text, file=sys.stderr)
        announce(args, text)
    statuses -= ENDED
    return max(statuses) if statuses and min(statuses) >= 0 else 1


def find_cause(failures: dict[int, ProcessFailure]) -> str:
    """Return why the processes failed: what the first one recorded, or the signal that killed it.

    A process that lost another one is not the cause if there is a further failure.
    """
    first = sorted(failures.items(), key=lambda item: item[1].timestamp)
    recorded = [
        failure.error_file_data['message']['message']
        for _, failure in first
        if os.path.isfile(failure.error_file)
    ]
    killed = [(rank, failure) for rank, failure in first if failure.exitcode < 0]
    texts = [text for text in recorded if not text.startswith(LOST)]
    if texts:
        return texts[0].removeprefix('UserError: ')
    if killed:
        # torchrun itself ends the others
        rank, failure = next((f for f in killed if f[1].exitcode not in ENDED), killed[0])
        return (
            f'launch.py: rank {rank} (process {failure.pid}) on {socket.gethostname()} was '
            f'killed by {failure.signal_name()}, for example for lack of memory; a training '
            'continues with --resume'
        )
    return recorded[0].removeprefix(LOST) if recorded else ''


def announce(args: argparse.Namespace, text: str) -> None:
    """Tell the processes of other nodes that wait for those of this one (``meet_processes``)."""
    if args.rdzv_backend != 'static' or args.node_rank == 0:
        return  # the connection to the first node has ended with its launcher
    with suppress(dist.DistError, OSError):
        # ends at once if the first node has ended; the store would try again
        socket.create_connection((args.master_addr, args.master_port), timeout=5).close()
        store = dist.TCPStore(
            args.master_addr,
            args.master_port,
            is_master=False,
            timeout=datetime.timedelta(seconds=5),
            wait_for_workers=False,
        )
        prefix, key = STORE
        dist.PrefixStore(prefix, store).set(key, text.splitlines()[0])


def explain_start(args: argparse.Namespace, text: str) -> str:
    """Return one line about nodes that have not found each other."""
    place = f'MASTER_ADDR={args.master_addr}, PORT={args.master_port}'
    node = f'node {args.node_rank} of {args.nnodes} ({socket.gethostname()})'
    reason = text.splitlines()[0].partition(', keys:')[0].rstrip('.')
    if 'EADDRINUSE' in text:
        return (
            f'launch.py: {place}: got a port that another program of {socket.gethostname()} uses, '
            'expected a free one; set PORT to another one on all nodes'
        )
    return (
        f'launch.py: {place}: {node} has not found the others within '
        f'{args.rdzv_conf.removeprefix("timeout=")} s: {reason}. Set the same MASTER_ADDR (an '
        'address of node 0), PORT (open between the nodes) and NNODES on all nodes, and NODE_RANK '
        f'from 0 to {int(args.nnodes) - 1}, each once; {START_TIMEOUT} changes the time limit'
    )


if __name__ == '__main__':
    sys.exit(main())
