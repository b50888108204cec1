"""Start several processes as torchrun does, and print the first error of all of them only once.

    python tools/launch.py --nproc_per_node=2 tools/train.py CONFIG --launcher pytorch

Arguments as torchrun's. The exit status is that of a process that failed. A process that a signal
killed, for example for lack of memory, could not report anything: torchrun's report is shown.
"""

import logging
import os
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> int:
    """Start the processes and wait for them."""
    if os.environ.get('ABAW_MM_TRACEBACK'):
        run.main()
        return 0
    os.environ['ABAW_MM_LAUNCHED'] = '1'  # the processes only record their errors
    # This logger reports every process that failed, and every one stopped because of that.
    logging.getLogger('torch.distributed.elastic.multiprocessing.api').setLevel(logging.CRITICAL)
    try:
        run.run(run.parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        return report(error)
    except SignalException as error:  # Ctrl-C, or a time limit of the cluster
        if error.sigval == signal.SIGINT:
            print('interrupted', file=sys.stderr)
        return 128 + error.sigval
    return 0


def report(error: ChildFailedError) -> int:
    """Print the first recorded failure and return the exit status.

    Raises:
        ChildFailedError: If a signal killed a process, other than torchrun's own SIGTERM.
    """
    statuses = {failure.exitcode for failure in error.failures.values()}
    statuses.discard(-signal.SIGTERM)
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
