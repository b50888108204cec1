"""Show how far a long step is: a bar on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, Task
from rich.text import Text

FIRST, EVERY = 10.0, 30.0  # seconds until the first line, and between two lines

Update = Callable[[int, int], None]  # called with the number of items done and in total
Write = Callable[[str], None]

write_to_log: Write = partial(print_log, logger='current')


@contextmanager
def show_progress(what: str, write: Write = write_to_log) -> Iterator[Update]:
    """Show the progress of a step, with the time left, in the first process.

    On a terminal there is a bar on standard error. Elsewhere a line is written after 10 seconds and
    then every 30 seconds.

    Args:
        what (str): Name of the step.
        write (Callable): Writes a line if standard error is no terminal. Defaults to mmengine's
            current logger.

    Yields:
        Callable: Function to call with the number of items done and in total.
    """
    console = Console(stderr=True)
    if not is_main_process():
        yield lambda done, total: None
    elif console.is_terminal:
        columns = [*Progress.get_default_columns(), MofNCompleteColumn(), _SpeedColumn()]
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield _LineWriter(what, write)


class _SpeedColumn(ProgressColumn):
    """The number of items per second."""

    def render(self, task: Task) -> Text:
        return Text(
            '' if task.speed is None else f'{task.speed:.3g}/s', style='progress.data.speed'
        )


class _LineWriter:
    """Write a line about the progress from time to time."""

    def __init__(self, what: str, write: Write) -> None:
        self.what = what
        self.write = write
        self.start = time.monotonic()
        self.next = self.start + FIRST

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self.next or not 0 < done < total:
            return
        self.next = now + EVERY
        elapsed = now - self.start
        left = format_time_left(elapsed, done, total)
        self.write(f'{self.what}: {done} of {total}, {done / elapsed:.3g}/s, {left}')


def format_time_left(elapsed: float, done: int, total: int) -> str:
    """Estimate the time left from the seconds that ``done`` of ``total`` items took.

    >>> format_time_left(60, 1, 3), format_time_left(3600, 10, 410)
    ('0:02:00 left', '1 day, 16:00:00 left')
    """
    return f'{timedelta(seconds=round(elapsed * (total - done) / done))} left'
