"""Let a process end with the one that started it."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)
LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None


def end_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (Linux only).

    After a ``kill -9`` of everything that a terminal or a sweep has started, processes in sessions
    or groups of their own would remain: those of torchrun would write into the work dir, where a
    resumed run writes as well, and workers of data loaders would keep files open.
    """
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
