"""torchrun without its own report of a failure that a process has told of already.

    python tools/launch.py --nproc_per_node=2 tools/train.py CONFIG --launcher pytorch

Flags and exit status as torchrun's, but the status of a process that failed is passed on. A process
that was killed from outside, as by a lack of memory, told of nothing: then torchrun's report stays.
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
    # It logs each process that failed, and each that was stopped for that.
    logging.getLogger('torch.distributed.elastic.multiprocessing.api').setLevel(logging.CRITICAL)
    try:
        run.run(run.parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        statuses = {failure.exitcode for failure in error.failures.values()}
        statuses.discard(-signal.SIGTERM)  # stopped by torchrun, after another one's failure
        if not statuses or min(statuses) < 0:
            raise
        return max(statuses)
    except SignalException as error:  # Ctrl-C, or the end of a job's time
        return 128 + error.sigval
    return 0


if __name__ == '__main__':
    sys.exit(main())
