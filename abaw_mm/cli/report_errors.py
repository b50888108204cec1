"""Report the errors of a command: one line for what a user can fix, a traceback for a bug."""

import errno
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from abaw_mm.compat.cpu import LAUNCHERS
from abaw_mm.errors import TRACEBACK, LostProcessError, UserError

LAUNCHED = 'ABAW_MM_LAUNCHED'  # set by tools/launch.py, which prints the first recorded failure

FREE_SPACE = 'free disk space or give another path'
PERMIT = 'change the permissions or give another path'
ADVICE = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: FREE_SPACE,
    errno.EROFS: PERMIT,
    errno.EACCES: PERMIT,
    errno.ENOTDIR: 'give another path',
    errno.EEXIST: 'give another path',
}


def report_errors(main: Callable[..., int | None]) -> Callable[..., int]:
    """Make the main function of a command return its exit status and report what it raises.

    A :class:`UserError` becomes one line and status 1, Ctrl-C ``interrupted`` and status 130. Any
    other exception passes through, so that Python shows its traceback and exits with status 1.
    SIGTERM ends the command with status 143, after its temporary files are deleted. An OSError for
    want of space or permission is reported as a UserError is.

    With several processes, ``tools/launch.py`` prints the first failure only. Started by torchrun
    or Slurm, each rank prints its own line. With ``ABAW_MM_TRACEBACK=1`` in the environment every
    exception passes through.
    """

    @functools.wraps(main)
    def command(*args: Any, **kwargs: Any) -> int:
        logging.raiseExceptions = False  # a log that cannot be written is not reported line by line
        try:
            with _exit_on_sigterm():
                return main(*args, **kwargs) or 0
        except KeyboardInterrupt:
            return _report_interrupt()
        except Exception as error:
            stop = _find_stop(error)
            if isinstance(stop, KeyboardInterrupt):
                return _report_interrupt()
            if stop is not None:
                return stop.code
            message = get_message(error) if isinstance(error, (UserError, OSError)) else None
            if message is None or os.environ.get(TRACEBACK):
                raise
            report(
                f'{Path(sys.argv[0]).name}: {message}\n({TRACEBACK}=1 shows where the error arose)',
                LostProcessError if isinstance(error, LostProcessError) else UserError,
            )
            return 1

    return command


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, as SIGINT raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _report_interrupt() -> int:
    if LAUNCHED not in os.environ:
        print('interrupted', file=sys.stderr)
    return 130


def _find_stop(error: BaseException) -> Any:
    """Find the signal that a bare ``except`` of a library, such as mmengine's, made an error."""
    context = error.__context__
    if context is None or isinstance(context, (KeyboardInterrupt, SystemExit)):
        return context
    return _find_stop(context)


def report(text: str, kind: type[UserError] = UserError) -> None:
    """Print why a command fails, with the rank if there are several processes.

    The text is also recorded for torchrun, as an error of this kind. Under ``tools/launch.py`` it
    is only recorded.
    """
    get_error_handler().record_exception(kind(text))
    if LAUNCHED not in os.environ:
        print(f'{_rank_prefix()}{text}', file=sys.stderr)


def get_message(error: UserError | OSError) -> str | None:
    """Message of an error, without the traceback that a DataLoader adds to one of its workers.

    None for an OSError that is a bug.

    >>> get_message(UserError('--width: got -1'))
    '--width: got -1'
    >>> get_message(OSError(errno.ENOSPC, 'No space left on device', 'a.npz'))
    'a.npz: No space left on device; free disk space or give another path'
    """
    if not isinstance(error, UserError):
        advice = ADVICE.get(error.errno or 0)
        return advice and f'{error.filename or "a file"}: {error.strerror}; {advice}'
    text = str(error)
    if not text.startswith('Caught ') or '\nOriginal Traceback' not in text:
        return text
    cls = type(error)
    return text.rpartition(f'{cls.__module__}.{cls.__qualname__}: ')[2].strip()


def _rank_prefix() -> str:
    for names in LAUNCHERS.values():
        if int(os.environ.get(names.get('WORLD_SIZE', ''), 1)) > 1:
            return f'[rank {os.environ.get(names["RANK"], "?")}] '
    return ''
