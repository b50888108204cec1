"""Start several processes as torchrun does, and print the first error of all of them only once.

    python tools/launch.py --nproc_per_node=2 tools/train.py CONFIG --launcher pytorch

Arguments as torchrun's. The exit status is that of a process that failed. A process that a signal
killed, for example for lack of memory, could not report anything: torchrun's report is shown.

SIGTERM and Ctrl-C are passed on, so that a training saves a checkpoint; the exit status is 143 or
130. A second Ctrl-C ends all processes at once (Linux).
"""

import logging
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

ENDED = {-signal.SIGTERM, 128 + signal.SIGTERM}  # statuses of processes that torchrun ends
PATIENCE_S = 60  # for the end of a step and a checkpoint


def main() -> int:
    """Start the processes and wait for them."""
    shows_traceback = bool(os.environ.get('ABAW_MM_TRACEBACK'))
    if not shows_traceback:
        os.environ['ABAW_MM_LAUNCHED'] = '1'  # the processes only record their errors
        # This logger reports every process that failed, and every one stopped because of that.
        logger = logging.getLogger('torch.distributed.elastic.multiprocessing.api')
        logger.setLevel(logging.CRITICAL)
    os.environ.setdefault('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', str(PATIENCE_S))
    args = run.parse_args(sys.argv[1:])
    args.signals_to_handle = 'SIGTERM,SIGHUP,SIGQUIT'
    signal.signal(signal.SIGINT, interrupt)
    try:
        run.run(args)
    except ChildFailedError as error:
        if shows_traceback:
            raise
        return report(error)
    except SignalException as error:  # Ctrl-C, or a time limit of the cluster
        if error.sigval == signal.SIGINT:
            print('interrupted', file=sys.stderr)
        return 128 + error.sigval
    return 0


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Let torchrun pass a first Ctrl-C on. At the second, end, and so all processes."""
    signal.signal(number, lambda *_: os._exit(128 + number))
    raise SignalException('interrupted', signal.Signals(number))


def report(error: ChildFailedError) -> int:
    """Print the first recorded failure and return the exit status.

    Raises:
        ChildFailedError: If a signal killed a process, other than torchrun's own SIGTERM.
    """
    statuses = {failure.exitcode for failure in error.failures.values()}
    if statuses <= ENDED and max(statuses) > 0:  # a cluster has ended the processes themselves
        return max(statuses)
    statuses -= ENDED
    if not statuses or min(statuses) < 0:
        raise error
    recorded = [f for f in error.failures.values() if os.path.isfile(f.error_file)]
    if recorded:
        first = min(recorded, key=lambda failure: failure.timestamp)
        text = first.error_file_data['message']['message']
        print(text.removeprefix('UserError: '), file=sys.stderr)
    return max(statuses)


if __name__ == '__main__':
    sys.exit(main())
