"""Files of a sweep: what its work dir holds, and how logs and checkpoints are read."""

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abaw_mm.errors import InvalidValueError, UserError, shorten_text
from abaw_mm.files import DAMAGED, check_zip, read_json

# Values of the files that other modules compute with, under dotted keys.
NUMBER, TEXT = (int, float), (str,)
RESULT = {
    'time.train_s': NUMBER,
    'time.frames_per_s': NUMBER,
}
STATS = {'trainable': NUMBER, 'total': NUMBER, 'flops': NUMBER}
FAILURE = {'error': TEXT, 'log': TEXT}
REPEAT = 'delete it; the next sweep in this work dir makes it again'


class WorkDirInUseError(UserError, RuntimeError):
    """Another sweep, or a training that it started, uses the work dir."""


class WorkDir:
    """Work dir of a sweep.

    ::

        settings.json           settings that all runs share
        lock                    locked while a sweep or one of its trainings runs
        <training>/config.py    complete config
        <training>/stats.json   parameters and FLOPs
        <training>/seed<n>/     one run
            model.log, train.log, test.log
            iter_<i>.pth        checkpoints; only the last one remains
            metrics.json        scores
            result.json         written last: the run is finished
            failed.json         error of the last attempt, if it failed

    Args:
        path (str | os.PathLike): Folder. It is created when it is first needed.
        scores (Sequence[str]): Names of the scores that ``result.json`` must have.
    """

    def __init__(
        self, path: str | os.PathLike, scores: Sequence[str] = ('macro_f1', 'accuracy')
    ) -> None:
        self.path = Path(path).absolute()
        self.result = dict.fromkeys(scores, NUMBER) | RESULT

    def folder(self, name: str, seed: int | None = None) -> Path:
        """Return the folder of a training, or of one of its runs."""
        return self.path / name / ('' if seed is None else f'seed{seed}')

    def read_settings(self) -> dict:
        """Return the settings of the earlier sweeps in this folder; empty if there were none."""
        path = self.path / 'settings.json'
        settings = _read(path, {}, 'restore it, or give another --work-dir') or {}
        for key in ('weights', 'data') if settings else ():
            if not isinstance(settings.get(key), dict):
                raise InvalidValueError(
                    f'{path}: got {key}={shorten_text(settings.get(key))}, expected an object; the '
                    'file is damaged: restore it, or give another --work-dir'
                )
        return settings

    def read_stats(self, name: str) -> dict | None:
        """Return parameters and FLOPs of a training's model, None if not counted yet."""
        return _read(self.folder(name) / 'stats.json', STATS)

    def read_result(self, name: str, seed: int) -> dict | None:
        """Return the scores of a run, None unless it is finished."""
        return _read(self.folder(name, seed) / 'result.json', self.result)

    def read_failure(self, name: str, seed: int) -> dict | None:
        """Return ``error`` and ``log`` of a run, None unless its last attempt failed."""
        return _read(self.folder(name, seed) / 'failed.json', FAILURE)

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Lock the folder for one sweep.

        The lock belongs to an open file. Child processes that inherit the file keep the lock, so
        that no second sweep writes beside a training whose sweep was killed. The system releases
        the lock when the last of these processes ends.

        Yields:
            int: File descriptor to pass to child processes.

        Raises:
            WorkDirInUseError: If another sweep, or a training of it, holds the lock.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / 'lock', 'a+') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise WorkDirInUseError(
                    f'--work-dir {self.path}: in use by the sweep {file.read().strip()}, or by a '
                    'training that it started; wait until it ends, or give another --work-dir'
                ) from error
            file.truncate(0)
            file.write(f'with process ID {os.getpid()} on {socket.gethostname()}\n')
            file.flush()
            yield file.fileno()


def _read(path: Path, types: dict[str, tuple], fix: str = REPEAT) -> dict | None:
    """Return the content of a JSON file, None if it does not exist.

    Raises:
        ValueError: If it is damaged, or a value in ``types`` is missing or has another type.
    """
    if not path.is_file():
        return None
    content = read_json(path, 'a file of a sweep', fix)
    values = flatten(content)
    for key, expected in types.items():
        if type(values.get(key)) not in expected:
            raise InvalidValueError(
                f'{path}: got {key}={shorten_text(values.get(key))}, expected a '
                f'{"number" if expected is NUMBER else "text"}; the file is damaged: {fix}'
            )
    return content


def find_error(log: str) -> str:
    """Return the line of a log that names the error.

    This is the last line that begins with the name of an exception, without its module. torchrun's
    own ``ChildFailedError``, which follows each error of a process, does not count.

    >>> find_error('Traceback ...\\nabaw_mm.errors.UserError: got 3, expected 4\\n[rank0] bye\\n')
    'UserError: got 3, expected 4'
    """
    lines = [re.sub(r'^\[rank\d+\]:\s*', '', line.strip()) for line in log.splitlines()]
    lines = [line for line in lines if line]
    errors = [
        line
        for line in lines
        if re.match(r'[\w.]*(Error|Exception|Interrupt)\b', line) and 'ChildFailedError' not in line
    ]
    if not errors:
        return (lines or ['the log is empty'])[-1]
    return re.sub(r'^(\w+\.)+', '', errors[-1])


def find_last_checkpoint(folder: Path) -> Path | None:
    """Return the last complete checkpoint of a run, None if there is none.

    Checkpoints that were cut off by a kill, or are damaged, are removed.
    """
    paths = sorted(folder.glob('iter_*.pth'), key=lambda path: int(path.stem.split('_')[1]))
    for path in reversed(paths):
        try:
            check_zip(path)
        except DAMAGED:
            path.unlink()
        else:
            return path
    return None


def read_step_times(folder: Path) -> dict[int, float]:
    """Return the logged training steps of a run, and the mean seconds per step at each.

    A step that two attempts have logged has the time of the later attempt.
    """
    times = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text(errors='replace').splitlines():
            try:
                record = json.loads(line)
                step, time = record['step'], record['time']
            except DAMAGED:  # cut off by a kill, being written, or not of a training step
                continue
            if type(step) is int and type(time) in NUMBER and 'loss' in record:
                times[step] = time
    return times


def flatten(node: object, prefix: str = '') -> dict[str, Any]:
    """Flatten a nested dict to dotted keys. Tuples become lists, as in JSON.

    >>> flatten(dict(a=dict(b=1, c=(2, 3)), d=[]))
    {'a.b': 1, 'a.c': [2, 3], 'd': []}
    """
    if not isinstance(node, dict) or not node:
        return {prefix: json.loads(json.dumps(node, default=str))}
    return {
        key: value
        for name, child in node.items()
        for key, value in flatten(child, f'{prefix}.{name}' if prefix else str(name)).items()
    }


def find_differences(recorded: dict, current: dict) -> list[str]:
    """Compare two nested dicts; return one text per key that differs.

    >>> find_differences(dict(a=dict(b=1)), dict(a=dict(b=2), c=3))
    ['a.b (recorded 1, now 2)', 'c (recorded nothing, now 3)']
    """
    recorded, current = flatten(recorded), flatten(current)
    return [
        f'{key} (recorded {recorded.get(key, "nothing")}, now {current.get(key, "nothing")})'
        for key in sorted(recorded | current)
        if (key in recorded, recorded.get(key)) != (key in current, current.get(key))
    ]
