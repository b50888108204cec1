"""Report the errors of a command: one line for what a user can fix, a traceback for a bug."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from abaw_mm.compat.cpu import LAUNCHERS
from abaw_mm.errors import TRACEBACK, UserError

LAUNCHED = 'ABAW_MM_LAUNCHED'  # set by tools/launch.py, which prints the first recorded failure


def report_errors(main: Callable[..., int | None]) -> Callable[..., int]:
    """Make the main function of a command return its exit status and report what it raises.

    A :class:`UserError` becomes one line and status 1, Ctrl-C ``interrupted`` and status 130. Any
    other exception passes through, so that Python shows its traceback and exits with status 1.

    With several processes, ``tools/launch.py`` prints the first failure only. Started by torchrun
    or Slurm, each rank prints its own line. With ``ABAW_MM_TRACEBACK=1`` in the environment every
    exception passes through.
    """

    @functools.wraps(main)
    def command(*args: Any, **kwargs: Any) -> int:
        try:
            return main(*args, **kwargs) or 0
        except KeyboardInterrupt:
            if LAUNCHED not in os.environ:
                print('interrupted', file=sys.stderr)
            return 130
        except UserError as error:
            if os.environ.get(TRACEBACK):
                raise
            report(
                f'{Path(sys.argv[0]).name}: {get_message(error)}\n'
                f'({TRACEBACK}=1 shows where the error arose)'
            )
            return 1

    return command


def report(text: str) -> None:
    """Print why a command fails, with the rank if there are several processes.

    The text is also recorded for torchrun. Under ``tools/launch.py`` it is only recorded.
    """
    get_error_handler().record_exception(UserError(text))
    if LAUNCHED not in os.environ:
        print(f'{_rank_prefix()}{text}', file=sys.stderr)


def get_message(error: UserError) -> str:
    """Message of an error, without the traceback that a DataLoader adds to one of its workers.

    >>> get_message(UserError('--width: got -1'))
    '--width: got -1'
    """
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
