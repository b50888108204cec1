"""Crops in one LMDB store instead of millions of files, with the interface of a folder of crops.

The store is a folder, ``cropped_aligned.lmdb/data.mdb``, with these keys:

- ``<clip>/00001.jpg``: the unchanged bytes of a crop's file
- ``\\0clip/<clip>``: the record of a complete clip, as JSON: the ``names`` of its crops, the sum of
  their ``bytes`` and a ``checksum``. Listing a clip reads only this key.
- ``\\0store``: the format and the checksum of all records. Only a finished store has it.

``crop_packer.py`` writes stores.
"""

import functools
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from mmengine.fileio import BaseStorageBackend, register_backend

from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.errors import InvalidValueError, MissingFileError, MissingPackageError
from abaw_mm.files import explain_damage
from abaw_mm.structures import check_clip_names

if TYPE_CHECKING:
    import lmdb

SUFFIX = '.lmdb'
PREFIX = 'lmdb://'  # of the paths that AffWild2Dataset gives to transforms
FORMAT = b'1'
CLIP_KEY = b'\0clip/'  # no file name has a zero byte, so this is never the key of a crop
STORE_KEY = b'\0store'
PACK = 'python tools/dataset_converters/pack_affwild2.py'


def crop_key(clip: str, name: str) -> bytes:
    """Return the key of a crop."""
    return os.fsencode(f'{clip}/{name}')


def clip_key(clip: str) -> bytes:
    """Return the key of a clip's record."""
    return CLIP_KEY + os.fsencode(clip)


def import_lmdb() -> ModuleType:
    """Import ``lmdb``, which only packed crops need.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import lmdb
    except ImportError as error:
        raise MissingPackageError(
            f'crops in a {SUFFIX} store need the package lmdb, which did not import ({error}); '
            'install it with: pip install lmdb'
        ) from error
    return lmdb


def open_store(root: str, readahead: bool = False) -> 'lmdb.Environment':
    """Open a finished store for reading.

    Args:
        root: Folder of the store.
        readahead: Read ahead, for reading from end to end. In random order, as in training, this
            loads pages that are not needed. Defaults to False.

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: If the store is unfinished, damaged, truncated or of another format.
    """
    lmdb = import_lmdb()
    data = os.path.join(root, 'data.mdb')
    if not os.path.isfile(data):
        raise MissingFileError(
            f'{root}: got no data.mdb in it, expected a store of packed crops; make it with '
            f'{PACK}, or set data_prefix to the folder of the crops'
        )
    try:
        # No locks: nobody writes to a finished store, and network file systems lack them.
        env = lmdb.open(root, readonly=True, lock=False, readahead=readahead)
    except lmdb.Error as error:
        raise InvalidValueError(
            f'{root}: opening the store failed ({error}), expected a finished store; run {PACK} '
            'again to continue, or copy the store again if it is a copy'
        ) from error
    try:
        with explain_store_damage(root):
            problem = _find_problem(env, os.path.getsize(data))
            if problem:
                raise InvalidValueError(f'{root}: {problem}')
    except InvalidValueError:
        env.close()
        raise
    return env


def _find_problem(env: 'lmdb.Environment', size: int) -> str | None:
    """Return why a store of ``size`` bytes cannot be read, or None."""
    expected = (env.info()['last_pgno'] + 1) * env.stat()['psize']
    if size < expected:  # reading beyond the end would kill the process
        return (
            f'got {size} bytes of data.mdb, expected {expected}; the copy was cut off, copy the '
            f'store again, or remove it and run {PACK} again'
        )
    with env.begin() as txn:
        mark = txn.get(STORE_KEY)
    if mark is None:
        return (
            'got an unfinished store, expected one with all clips of its folder; run '
            f'{PACK} again to continue'
        )
    if not mark.startswith(FORMAT + b' '):
        return (
            f'got a store marked {mark!r}, expected the format {FORMAT.decode()}; it was made by '
            f'another version of abaw_mm or is damaged, remove it and run {PACK} again'
        )
    return None


_opened: dict[str, tuple[int, 'lmdb.Environment']] = {}  # real path to process and environment
_opening = threading.Lock()  # clips are listed in threads, and lmdb opens a store only once
_real_path = functools.lru_cache(maxsize=None)(os.path.realpath)  # saves a stat of every parent


def get_shared_store(root: str) -> 'lmdb.Environment':
    """Return the one environment of a store in this process; raises as :func:`open_store` does."""
    path = _real_path(os.path.abspath(root))
    pid, env = _opened.get(path, (None, None))
    if env is None or pid != os.getpid():
        with _opening:
            pid, env = _opened.get(path, (None, None))
            if env is None or pid != os.getpid():
                # An environment must not be used across a fork, and lmdb refuses a second one
                # while it knows the parent's. Closing the child's copy keeps the parent's open.
                if env is not None:
                    env.close()
                env = open_store(root)
                _opened[path] = os.getpid(), env
    return env


def close_store(root: str) -> None:
    """Close what :func:`get_shared_store` opened, as before writing; the next read reopens it."""
    _, env = _opened.pop(_real_path(os.path.abspath(root)), (None, None))
    if env is not None:
        env.close()


class PackedCrops(CropFolder):
    """A root of crops in a store, with the interface of the folder that was packed.

    The store is opened when it is first read. Copies and pickles hold only the path.

    Args:
        root (str): The store, ``<root>/data.mdb``.
        filename_tmpl (str): File name of a frame. Defaults to ``'{:05d}.jpg'``.
    """

    def clips(self) -> list[str]:
        """Return the names of the clips, sorted."""
        with explain_store_damage(self.root), get_shared_store(self.root).begin() as txn:
            return sorted(read_records(txn))

    def names(self, clip: str) -> list[str]:
        """Return the names of a clip's crops; none if the store does not have the clip."""
        with explain_store_damage(self.root):
            with get_shared_store(self.root).begin() as txn:
                record = txn.get(clip_key(clip))
            return [] if record is None else parse_record(record)['names']

    def stamp(self, clip: str) -> tuple[int, ...]:
        """Return size in bytes and times of change in ns of the store."""
        try:
            stat = os.stat(os.path.join(self.root, 'data.mdb'))
        except FileNotFoundError:
            get_shared_store(self.root)  # raises with advice
            raise
        return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

    def path(self, clip: str, frame_no: int, spelling: int = 0) -> str:
        """Return the path of a crop for ``mmengine.fileio``, ``lmdb://<store>/<clip>/00001.jpg``."""
        return f'{PREFIX}{self.root}/{clip}/{self.templates[spelling].name(frame_no)}'


def read_records(txn: 'lmdb.Transaction') -> dict[str, bytes]:
    """Return clip name to the stored record of each complete clip."""
    records = {}
    with txn.cursor() as cursor:
        found = cursor.set_range(CLIP_KEY)
        while found and bytes(cursor.key()).startswith(CLIP_KEY):
            clip = os.fsdecode(bytes(cursor.key())[len(CLIP_KEY) :])
            records[clip] = bytes(cursor.value())
            found = cursor.next()
    check_clip_names(records, 'store of packed crops')
    return records


def parse_record(record: bytes) -> dict:
    """Return ``names``, ``bytes`` and ``checksum`` of a clip's record.

    Raises:
        ValueError, TypeError, KeyError: If the record is damaged.
    """
    content = json.loads(record)
    parts = content['names'], content['bytes'], content['checksum']
    if [*map(type, parts)] != [list, int, str] or not all(type(n) is str for n in parts[0]):
        raise TypeError('a record of other types')
    return content


@contextmanager
def explain_store_damage(root: str) -> Iterator[None]:
    """Turn what reading a damaged store raises into one error that a user can read."""
    lmdb = import_lmdb()
    fix = f'copy the store again if it is a copy, or remove it and run {PACK} again'
    with explain_damage(root, 'a store of packed crops', fix):
        try:
            yield
        except lmdb.Error as error:
            raise ValueError(f'lmdb says {error}') from error


def open_crops(root: str | os.PathLike, filename_tmpl: str = '{:05d}.jpg') -> CropFolder:
    """Return a root of crops: a store if its name ends in ``.lmdb``, else a folder."""
    root = os.fspath(root)
    is_packed = root.rstrip('/' + os.sep).endswith(SUFFIX)
    return (PackedCrops if is_packed else CropFolder)(root, filename_tmpl)


@register_backend('packed_crops', prefixes='lmdb')
class PackedCropsBackend(BaseStorageBackend):
    """Let ``mmengine.fileio``, and so LoadImageFromFile, read ``lmdb://<store>/<clip>/<name>``.

    mmengine's own ``LmdbBackend`` takes the store as an argument and bare keys as paths, so it
    supports neither several stores nor a store beside a folder, and opens a store per transform.
    """

    def get(self, filepath: str | os.PathLike) -> bytes:
        """Return the bytes of a crop.

        Raises:
            FileNotFoundError: If the store does not hold it; otherwise as :func:`open_store` does.
        """
        root, *key = os.fspath(filepath).removeprefix(PREFIX).rsplit('/', 2)
        data = None
        if len(key) == 2:
            with explain_store_damage(root), get_shared_store(root).begin() as txn:
                data = txn.get(crop_key(*key))
        if data is None:
            raise MissingFileError(
                f'{filepath}: no such crop, expected {PREFIX}<store>/<clip>/<name> of a crop in '
                f'the store; check data_prefix, or run {PACK} again if the folder has it'
            )
        return data

    def get_text(self, filepath: str | os.PathLike, encoding: str = 'utf-8') -> str:
        """Return the bytes of a crop as text."""
        return self.get(filepath).decode(encoding)
