"""Crops in one LMDB store instead of millions of files, read as a folder of crops is.

The store is a folder, ``cropped_aligned.lmdb/data.mdb``, with these keys:

- ``<clip>/00001.jpg``: the bytes of a crop's file, as they were;
- ``\\0clip/<clip>``: the record of a complete clip, JSON with the names of its crops, the sum of
  their ``bytes`` and a ``checksum``; listing a clip reads this and no other key;
- ``\\0store``: the format and the checksum of all records, only in a finished store.

``crop_packer.py`` writes it.
"""

import functools
import json
import os
import threading
from types import ModuleType
from typing import TYPE_CHECKING

from mmengine.fileio import BaseStorageBackend, register_backend

from abaw_mm.datasets.crops.crop_folder import CropFolder

if TYPE_CHECKING:
    import lmdb

SUFFIX = '.lmdb'
PREFIX = 'lmdb://'  # of the paths that AffWild2Dataset hands to LoadImageFromFile
FORMAT = b'1'
CLIP_KEY = b'\0clip/'  # no file name holds a zero byte, so no crop has such a key
STORE_KEY = b'\0store'
PACK = 'python tools/dataset_converters/pack_affwild2.py'


def crop_key(clip: str, name: str) -> bytes:
    """Key of a crop."""
    return os.fsencode(f'{clip}/{name}')


def clip_key(clip: str) -> bytes:
    """Key of a clip's record."""
    return CLIP_KEY + os.fsencode(clip)


def import_lmdb() -> ModuleType:
    """The module ``lmdb``, which only packed crops need.

    Raises:
        ImportError: Where it is not installed.
    """
    try:
        import lmdb
    except ImportError as error:
        raise ImportError(
            f'crops in a {SUFFIX} store need the package lmdb, which did not import ({error}); '
            'install it with: pip install lmdb'
        ) from error
    return lmdb


def open_store(root: str, readahead: bool = False) -> 'lmdb.Environment':
    """Open a finished store for reading.

    Args:
        root: Folder of the store.
        readahead: For reading it from end to end. At random, as in training, reading ahead loads
            pages that nobody asked for.

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: For a store that is unfinished, damaged, cut off or of another format.
    """
    lmdb = import_lmdb()
    data = os.path.join(root, 'data.mdb')
    if not os.path.isfile(data):
        raise FileNotFoundError(
            f'{root}: got no data.mdb in it, expected a store of packed crops; make it with '
            f'{PACK}, or set data_prefix to the folder of the crops'
        )
    try:
        # No locks: nobody writes to a finished store, and network file systems lack them.
        env = lmdb.open(root, readonly=True, lock=False, readahead=readahead)
    except lmdb.Error as error:
        raise ValueError(
            f'{root}: opening the store failed ({error}), expected one that {PACK} finished; run '
            'that again to go on where it stopped, or copy the store again if it is a copy'
        ) from error
    problem = _problem_of(env, os.path.getsize(data))
    if problem:
        env.close()
        raise ValueError(f'{root}: {problem}')
    return env


def _problem_of(env: 'lmdb.Environment', size: int) -> str | None:
    """Why a store of this size in bytes cannot be read, or None."""
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
            f'{PACK} again to go on where it stopped'
        )
    if not mark.startswith(FORMAT + b' '):
        return (
            f'got a store marked {mark!r}, expected one of the format {FORMAT.decode()}; it was '
            f'made by another version of abaw_mm or is damaged, remove it and run {PACK} again'
        )
    return None


_opened: dict[str, tuple[int, 'lmdb.Environment']] = {}  # real path to process and environment
_opening = threading.Lock()  # clips are listed in threads, and lmdb opens a store only once
_real_path = functools.lru_cache(maxsize=None)(os.path.realpath)  # else a stat of every parent


def shared_store(root: str) -> 'lmdb.Environment':
    """The one environment of a store in this process; raises as :func:`open_store` does."""
    path = _real_path(os.path.abspath(root))
    pid, env = _opened.get(path, (None, None))
    if pid != os.getpid():
        with _opening:
            pid, env = _opened.get(path, (None, None))
            if pid != os.getpid():
                # An environment must not be used across a fork, and lmdb refuses a second one
                # while it knows of the parent's. Closing the child's copy leaves the parent's open.
                if env is not None:
                    env.close()
                env = open_store(root)
                _opened[path] = os.getpid(), env
    return env


def close_store(root: str) -> None:
    """Close what :func:`shared_store` opened, as before writing; the next read opens it again."""
    _, env = _opened.pop(_real_path(os.path.abspath(root)), (None, None))
    if env is not None:
        env.close()


class PackedCrops(CropFolder):
    """A root of crops in a store; the same interface as the folder that was packed.

    Nothing is opened before the first listing. Copies and pickles hold only the path.

    Args:
        root (str): The store, ``<root>/data.mdb``.
        filename_tmpl (str): File name of a frame. Defaults to ``'{:05d}.jpg'``.
    """

    def clips(self) -> list[str]:
        """Names of the clips, sorted."""
        with shared_store(self.root).begin() as txn:
            return sorted(read_records(txn))

    def names(self, clip: str) -> list[str]:
        """Names of a clip's crops; none for a clip that the store does not have."""
        with shared_store(self.root).begin() as txn:
            record = txn.get(clip_key(clip))
        return [] if record is None else json.loads(record)['names']

    def stamp(self, clip: str) -> tuple[int, int, int]:
        """What tells whether a clip's crops changed: size in bytes and times in ns of the store."""
        try:
            stat = os.stat(os.path.join(self.root, 'data.mdb'))
        except FileNotFoundError:
            shared_store(self.root)  # explains
            raise
        return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

    def path(self, clip: str, frame_no: int, variant: int = 0) -> str:
        """Where a crop lies, for ``mmengine.fileio``: ``lmdb://<store>/<clip>/00001.jpg``."""
        return f'{PREFIX}{self.root}/{clip}/{self.templates[variant].name(frame_no)}'


def read_records(txn: 'lmdb.Transaction') -> dict[str, bytes]:
    """Clip to the record of each complete clip, as stored."""
    records = {}
    with txn.cursor() as cursor:
        found = cursor.set_range(CLIP_KEY)
        while found and cursor.key().startswith(CLIP_KEY):
            records[os.fsdecode(cursor.key()[len(CLIP_KEY) :])] = cursor.value()
            found = cursor.next()
    return records


def open_crops(root: str | os.PathLike, filename_tmpl: str = '{:05d}.jpg') -> CropFolder:
    """A root of crops: a store where its name ends in ``.lmdb``, else a folder."""
    root = os.fspath(root)
    packed = root.rstrip('/' + os.sep).endswith(SUFFIX)
    return (PackedCrops if packed else CropFolder)(root, filename_tmpl)


@register_backend('packed_crops', prefixes='lmdb')
class PackedCropsBackend(BaseStorageBackend):
    """Reads ``lmdb://<store>/<clip>/<name>`` in ``mmengine.fileio``, and so in LoadImageFromFile.

    mmengine's own ``LmdbBackend`` takes the store as an argument and bare keys as paths, so it
    cannot serve several stores or a store beside a folder; and it opens a store per transform.
    """

    def get(self, filepath: str | os.PathLike) -> bytes:
        """Bytes of a crop.

        Raises:
            FileNotFoundError: If the store does not hold it; else as :func:`open_store` does.
        """
        root, *key = os.fspath(filepath).removeprefix(PREFIX).rsplit('/', 2)
        data = None
        if len(key) == 2:
            with shared_store(root).begin() as txn:
                data = txn.get(crop_key(*key))
        if data is None:
            raise FileNotFoundError(
                f'{filepath}: no such crop, expected {PREFIX}<store>/<clip>/<name> of a crop in '
                f'the store; check data_prefix, or run {PACK} again if the folder has it'
            )
        return data

    def get_text(self, filepath: str | os.PathLike, encoding: str = 'utf-8') -> str:
        """:meth:`get`, decoded."""
        return self.get(filepath).decode(encoding)
