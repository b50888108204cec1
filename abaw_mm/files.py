"""Write files atomically, lock folders, read files that may be damaged, and compute checksums."""

import errno
import fcntl
import glob
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from mmengine.logging import print_log

from abaw_mm.errors import FileAccessError, InvalidValueError, MissingFileError, UserError

# What libraries raise while they read a damaged file. LookupError includes KeyError, RuntimeError
# includes RecursionError and NotImplementedError, ValueError includes UnicodeError.
DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

# Draft of a file: .<stem>.<host>-<process ID>.part<suffix>
DRAFT = re.compile(r'\..+\.(?P<host>[^/]+)-(?P<pid>\d+)\.part(\.\w+)?')
END_RECORD = struct.Struct('<4s6xH10s')  # of a zip archive: signature, number of members
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, limit of the size of a file


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
    if os.path.exists(target) and not (os.path.isfile(target) or os.path.isdir(target)):
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


def check_folder(folder: str | os.PathLike, setting: str) -> None:
    """Check that files can be written to a folder, before hours are spent on their content.

    Args:
        folder (str): The folder. It may be missing: then a parent must be writable.
        setting (str): Name of the setting, for the message.

    Raises:
        FileAccessError: If the folder, or the nearest one above it, is no folder to write to.
    """
    parent = Path(os.path.abspath(folder))
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise FileAccessError(
            f'{setting}: got {folder}, expected a folder that can be written to, which {parent} is '
            'not; give another folder'
        )


@contextmanager
def lock_folder(folder: str | os.PathLike, setting: str) -> Iterator[None]:
    """Lock a folder for one process that writes into it, and delete the drafts left in it.

    The lock belongs to the process: the system frees it when the process ends, also after
    ``kill -9``, and a forked worker of a data loader does not keep it. The file ``.lock`` names the
    holder, and remains. The lock works between machines on NFS, and on Lustre mounted with
    ``flock``; on a file system without locks there is only a warning.

    Args:
        folder: The folder. It is created if necessary.
        setting (str): The setting or argument that gives it, for the message.

    Raises:
        FileAccessError: If another process holds the lock, the folder cannot be written to, or the
            disk is full.
    """
    path = Path(folder, '.lock')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+')
    except OSError as error:
        raise FileAccessError(
            f'{setting}: {folder} cannot be written to: {error}; give a folder that can'
        ) from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise FileAccessError(
                    f'{setting}: {folder} is in use by {file.read().strip()}; wait until it ends, '
                    'end it, or give another folder'
                ) from None
            print_log(
                f'{setting}: the file system of {folder} has no locks ({error.strerror}); a second '
                'run there would not be noticed',
                logger='current',
                level=logging.WARNING,
            )
        now = time.strftime('%Y-%m-%d %H:%M:%S')
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()} since {now}\n')
        file.flush()
        remove_drafts(folder)
        try:
            yield
        except OSError as error:
            if isinstance(error, UserError) or error.errno not in FULL:
                raise
            raise FileAccessError(
                f'{setting}: {error.filename or folder} cannot be written: {error.strerror}; free '
                'disk space or give another folder'
            ) from error
        finally:
            file.truncate(0)


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


@contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Make a folder only after its content is complete.

    The block writes to a draft beside it. If the block raises, the draft is deleted.

    Args:
        path: The folder; new or empty. Missing parents are made.

    Raises:
        FileAccessError: If it exists and is not empty.
    """
    folder = Path(path)
    if not folder.name:  # the present folder, which cannot be replaced
        raise FileAccessError(
            f'--out: got {path}, expected the name of a new folder, such as {folder / "out"}'
        )
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileAccessError(
            f'--out: {folder} already exists, expected a new or empty folder; remove it or give '
            'another --out'
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f'.{folder.name}.{os.getpid()}.part')
    try:
        draft.mkdir()
        yield draft
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def walk_files(folder: str | os.PathLike) -> Iterator[str]:
    """Yield the paths of the files in a folder, at any depth, without hidden files and folders.

    Links are followed.
    """
    for path, folders, names in os.walk(os.fspath(folder), followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in names:
            if not name.startswith('.') and os.path.isfile(found := os.path.join(path, name)):
                yield found


def sha256(path: str | os.PathLike) -> str:
    """Compute the SHA-256 checksum of a file, as ``sha256sum`` prints it."""
    with open(path, 'rb') as file:
        return sha256_of_stream(file)


def sha256_of_stream(file: IO[bytes]) -> str:
    """Compute the SHA-256 checksum of an open file, from its position to its end."""
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def check_zip(file: str | os.PathLike | IO[bytes]) -> None:
    """Compare every member of a zip archive (.pth, .npz) with the checksum stored in the archive.

    Neither torch nor NumPy compares all of them. An archive whose checksums are all zero has none,
    as ``torch.serialization.set_crc32_options(False)`` writes it, and passes.

    Raises:
        zipfile.BadZipFile: If a member is damaged. zipfile may raise the other errors of
            :data:`DAMAGED`.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_count(archive, len(members))
        damaged = archive.testzip() if any(member.CRC for member in members) else None
    if damaged is not None:
        raise zipfile.BadZipFile(f'{damaged} differs from its checksum')


def _check_count(archive: zipfile.ZipFile, found: int) -> None:
    """Compare the number of members with the record at the end of an archive without a comment.

    A wrong length in the list of members hides those that follow, which zipfile accepts.
    """
    assert archive.fp is not None
    archive.fp.seek(-END_RECORD.size, os.SEEK_END)
    signature, count, _ = END_RECORD.unpack(archive.fp.read(END_RECORD.size))
    if signature == b'PK\5\6' and count not in (found, 0xFFFF):  # 0xFFFF: stored elsewhere
        raise zipfile.BadZipFile(f'got {found} of {count} members')


@contextmanager
def explain_damage(path: str | os.PathLike, expected: str, fix: str) -> Iterator[None]:
    """Turn whatever a library raises for a damaged file into one error that a user can read.

    Errors that are for users already pass unchanged.

    Args:
        path: The file.
        expected (str): What the file should be, for the message.
        fix (str): What to do, for the message.

    Raises:
        FileNotFoundError: If the file does not exist.
        OSError: If it is a folder or access is denied.
        ValueError: If it is damaged.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f'{path}: no such file, expected {expected}; {fix}') from error
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise FileAccessError(
            f'{path}: cannot be read ({error.strerror}), expected {expected}; {fix}'
        ) from error
    except DAMAGED as error:
        raise InvalidValueError(
            f'{path}: got a damaged or wrong file ({summarize(error)}), expected {expected}; {fix}'
        ) from error


def summarize(error: Exception) -> str:
    """Return the first words of an error for a message, in one line.

    >>> summarize(KeyError('clips')), len(summarize(ValueError('0' * 9000)))
    ("KeyError: 'clips'", 120)
    """
    text = ' '.join(str(error).split()) or type(error).__name__
    text = text.partition(' If you trust')[0]  # NumPy's advice to unpickle
    if isinstance(error, LookupError):  # the text is the key alone
        text = f'{type(error).__name__}: {text}'
    return text if len(text) <= 120 else f'{text[:117]}...'


def read_text(path: str | os.PathLike, expected: str = 'a text file') -> str:
    """Read a UTF-8 file, with or without a byte order mark; every line ends in ``\\n``.

    Args:
        path: The file.
        expected (str): What the file should be, for messages.

    Raises:
        FileNotFoundError: If it does not exist.
        OSError: If it is a folder or access is denied.
        ValueError: If it is not UTF-8. The message names the line.
    """
    with explain_damage(path, expected, 'correct the path'):
        data = Path(path).read_bytes()
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        is_utf16 = data.startswith((b'\xff\xfe', b'\xfe\xff'))
        raise InvalidValueError(
            f'{path}, line {line}: got {"UTF-16" if is_utf16 else "bytes that are not UTF-8"}, '
            f'expected {expected} in UTF-8; save it as UTF-8 (iconv -f '
            f'{"UTF-16" if is_utf16 else "LATIN1"} -t UTF-8), or download it again'
        ) from error
    return text.replace('\r\n', '\n').replace('\r', '\n')


def read_json(path: str | os.PathLike, expected: str, fix: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: The file.
        expected (str): What the file should be, for messages.
        fix (str): What to do if it is damaged, for messages.

    Raises:
        FileNotFoundError: If it does not exist.
        OSError: If it is a folder or access is denied.
        ValueError: If it is damaged, holds no object, or an object has a name twice.
    """
    with explain_damage(path, expected, fix):
        content = json.loads(Path(path).read_bytes(), object_pairs_hook=_make_object)
        if not isinstance(content, dict):
            raise TypeError(f'a {type(content).__name__} instead of an object')
    return content


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Write a JSON file atomically; values that JSON does not know are written as text."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(content, indent=1, default=str) + '\n')


def _make_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; of two equal names, ``json`` would keep the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the name {twice!r} twice in one object')
    return content


def read_npz(path: str | os.PathLike, expected: str, fix: str) -> dict[str, np.ndarray]:
    """Read all arrays of a ``.npz`` without unpickling, and compare them with their checksums.

    Arguments and errors are those of :func:`read_json`; more than plain arrays is a ValueError.
    """
    with explain_damage(path, expected, fix):
        check_zip(path)  # np.load reads what an array's header asks for, perhaps not all of it
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name, array in arrays.items():
            _check_array(name, array)
    return arrays


def _check_array(name: str, array: object) -> None:
    """Raise ValueError unless a member of a ``.npz`` is an array of numbers or of valid texts."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f'{name} is not an array')
    if array.dtype.kind == 'U' and array.size:  # NumPy crashes on other characters
        codes = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder + 'u4')
        if codes.max(initial=0) > 0x10FFFF:
            raise ValueError(f'{name} contains characters that do not exist')
