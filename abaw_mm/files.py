"""Write files atomically and compute their checksums."""

import glob
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from abaw_mm.errors import FileAccessError, UserError

# Draft of a file: .<stem>.<host>-<process ID>.part<suffix>
DRAFT = re.compile(r'\..+\.(?P<host>[^/]+)-(?P<pid>\d+)\.part(\.\w+)?')


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Replace a file only after its new content is complete.

    The block writes to a draft in the same folder, with the same suffix. The draft replaces
    ``path`` when the block ends. If the block raises, the draft is deleted and ``path`` keeps its
    content. Drafts of ``path`` that killed processes of this machine have left are deleted, too.
    Missing parent folders are created. Devices and pipes are written to directly.

    Yields:
        Path: The draft to write.

    Raises:
        OSError: If the file cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link keeps leading to the file
    if os.path.exists(target) and not os.path.isfile(target):
        yield target
        return
    host = socket.gethostname()
    draft = target.with_name(f'.{target.stem}.{host}-{os.getpid()}.part{target.suffix}')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target, host)
        yield draft
        os.replace(draft, target)
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise FileAccessError(
            f'{path} cannot be written: {error}; free disk space or give another path'
        ) from error
    finally:
        if target.parent.is_dir():
            draft.unlink(missing_ok=True)


def _remove_abandoned(target: Path, host: str) -> None:
    """Delete the drafts of a file whose processes on this machine have ended."""
    pattern = f'.{glob.escape(target.stem)}.{glob.escape(host)}-*.part{glob.escape(target.suffix)}'
    for path in target.parent.glob(pattern):
        match = DRAFT.fullmatch(path.name)
        if match and not _is_running(int(match['pid'])):
            path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        pass
    return True


def remove_drafts(folder: str | os.PathLike) -> None:
    """Delete all drafts in a folder that no other process writes to, see :func:`lock_folder`."""
    for path in Path(folder).glob('.*.part*'):
        if DRAFT.fullmatch(path.name):
            path.unlink(missing_ok=True)


def open_atomic(
    path: str | os.PathLike, mode: str = 'r', **options: Any
) -> AbstractContextManager[IO]:
    """Open a file as ``open`` does; a new file appears when it is closed without an error.

    Modes other than ``'w'`` and ``'wb'`` are those of ``open``.
    """
    return _open_draft(path, mode, options) if mode in ('w', 'wb') else open(path, mode, **options)


@contextmanager
def _open_draft(path: str | os.PathLike, mode: str, options: dict[str, Any]) -> Iterator[IO]:
    with atomic_write(path) as draft, open(draft, mode, **options) as file:
        yield file


def sha256(path: str | os.PathLike) -> str:
    """Compute the SHA-256 checksum of a file, as ``sha256sum`` prints it."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
