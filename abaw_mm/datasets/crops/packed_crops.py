"""Crops in one LMDB store instead of millions of files, with the interface of a folder of crops.

The store is a folder, ``cropped_aligned.lmdb/data.mdb``, with these keys:

- ``<clip>/00001.jpg``: the unchanged bytes of a crop's file
- ``\\0clip/<clip>``: the record of a complete clip, as JSON: the ``names`` of its crops, the sum of
  their ``bytes`` and a ``checksum``. Listing a clip reads only this key.
- ``\\0store``: the format and the checksum of all records. Only a finished store has it.

``crop_packer.py`` writes stores with the package lmdb; ``store_pages.py`` reads them.
"""

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.fileio import BaseStorageBackend, register_backend

from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.store_pages import StorePages
from abaw_mm.errors import InvalidValueError, MissingFileError, shorten_text
from abaw_mm.files import explain_damage
from abaw_mm.structures import check_clip_names

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


def open_store(root: str) -> StorePages:
    """Open a finished store for reading.

    Args:
        root: Folder of the store.

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: If the store is unfinished, damaged, truncated or of another format.
    """
    data = os.path.join(root, 'data.mdb')
    if not os.path.isfile(data):
        raise MissingFileError(
            f'{root}: got no data.mdb in it, expected a store of packed crops; make it with '
            f'{PACK}, or set data_prefix to the folder of the crops'
        )
    with explain_store_damage(root):
        store = StorePages(data)
        problem = _find_problem(store)
    if problem:
        raise InvalidValueError(f'{root}: {problem}')
    return store


def _find_problem(store: StorePages) -> str | None:
    """Return why a store cannot be read, or None."""
    if store.size < store.expected_size:
        return (
            f'got {store.size} bytes of data.mdb, expected {store.expected_size}; the copy was cut '
            f'off, copy the store again, or remove it and run {PACK} again'
        )
    mark = store.get(STORE_KEY)
    if mark is None:
        return (
            'got an unfinished store, expected one with all clips of its folder; run '
            f'{PACK} again to continue'
        )
    if not mark.startswith(FORMAT + b' '):
        return (
            f'got a store marked {shorten_text(mark)}, expected the format {FORMAT.decode()}; it '
            f'was made by another version of abaw_mm or is damaged, remove it and run {PACK} again'
        )
    return None


@contextmanager
def explain_store_damage(root: str) -> Iterator[None]:
    """Turn what reading a damaged store raises into one error that a user can read."""
    fix = f'copy the store again if it is a copy, or remove it and run {PACK} again'
    with explain_damage(root, 'a store of packed crops', fix):
        yield


_opened: dict[str, StorePages] = {}  # real path to store; memory maps survive a fork
_real_path = functools.lru_cache(maxsize=None)(os.path.realpath)  # saves a stat of every parent


def get_shared_store(root: str) -> StorePages:
    """Return a store that this process opens once; raises as :func:`open_store` does."""
    path = _real_path(os.path.abspath(root))
    if path not in _opened:
        _opened[path] = open_store(root)
    return _opened[path]


def close_store(root: str) -> None:
    """Close what :func:`get_shared_store` opened, as before writing; the next read reopens it."""
    _opened.pop(_real_path(os.path.abspath(root)), None)


class PackedCrops(CropFolder):
    """A root of crops in a store, with the interface of the folder that was packed.

    The store is opened when it is first read. Copies and pickles hold only the path.

    Args:
        root (str): The store, ``<root>/data.mdb``.
        filename_tmpl (str): File name of a frame. Defaults to ``'{:05d}.jpg'``.
    """

    def clips(self) -> list[str]:
        """Return the names of the clips, sorted."""
        with explain_store_damage(self.root):
            return sorted(read_records(get_shared_store(self.root)))

    def names(self, clip: str) -> list[str]:
        """Return the names of a clip's crops; none if the store does not have the clip."""
        with explain_store_damage(self.root):
            record = get_shared_store(self.root).get(clip_key(clip))
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


def read_records(store: StorePages) -> dict[str, bytes]:
    """Return clip name to the stored record of each complete clip.

    Raises:
        ValueError: If a name could leave a folder.
    """
    records = {os.fsdecode(key[len(CLIP_KEY) :]): value for key, value in store.items(CLIP_KEY)}
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
            with explain_store_damage(root):
                data = get_shared_store(root).get(crop_key(*key))
        if data is None:
            raise MissingFileError(
                f'{filepath}: no such crop, expected {PREFIX}<store>/<clip>/<name> of a crop in '
                f'the store; check data_prefix, or run {PACK} again if the folder has it'
            )
        return data

    def get_text(self, filepath: str | os.PathLike, encoding: str = 'utf-8') -> str:
        """Return the bytes of a crop as text."""
        return self.get(filepath).decode(encoding)
