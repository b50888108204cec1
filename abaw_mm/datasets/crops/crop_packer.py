"""Pack a folder of crops into a store, and check a store; see ``packed_crops.py``.

Each clip is one transaction that ends with the clip's record. If packing is killed, the store holds
the clips packed so far and nothing of the current one; the next call continues from there.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    explain_names,
    list_crops,
)
from abaw_mm.datasets.crops.packed_crops import (
    FORMAT,
    STORE_KEY,
    SUFFIX,
    clip_key,
    close_store,
    crop_key,
    explain_store_damage,
    open_store,
    parse_record,
    read_records,
)
from abaw_mm.datasets.crops.store_pages import StorePages
from abaw_mm.errors import (
    FileAccessError,
    InvalidValueError,
    MissingFileError,
    MissingPackageError,
    shorten,
)
from abaw_mm.files import lock_folder
from abaw_mm.structures import FrameTable

if TYPE_CHECKING:
    import lmdb

DIGEST_BYTES = 16  # detects damage and mix-ups, and is short enough to compare by eye
READ_AHEAD = 1024  # files that are read in advance; bounds the memory
MAP_SIZE = 1 << 30  # bytes; doubled whenever the store is full
Report = Callable[[int, int], None]  # called with the number of crops done and in total


def import_lmdb() -> ModuleType:
    """Import ``lmdb``, which only packing needs.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import lmdb
    except ImportError as error:
        raise MissingPackageError(
            f'packing crops needs the package lmdb, which did not import ({error}); '
            'install it with: pip install lmdb'
        ) from error
    return lmdb


@dataclass(frozen=True)
class StoreSummary:
    """Content of a store. Equal crops give an equal ``checksum``, however they were packed."""

    clips: int
    crops: int
    bytes: int  # of the crops' files
    checksum: str


def pack_crops(
    source: CropFolder, root: str, workers: int = 16, report: Report = lambda done, total: None
) -> None:
    """Write all crops of a folder into a store, or continue after an earlier call was killed.

    Complete clips are not read again unless the names of their files changed.

    Args:
        source: The folder. Only files whose names fit its template are packed.
        root: The store to make or to continue, ``*.lmdb``.
        workers: Number of threads that read files.
        report: Called after each clip.

    Raises:
        FileNotFoundError: If the folder has no crop.
        ValueError: If ``root`` is not a store of this folder, or a crop has zero bytes.
        OSError: If another process packs into the same store, a file cannot be read, or writing
            fails, as on a full disk.
    """
    lmdb = import_lmdb()
    crops = list_crops([source], source.clips())
    if not len(crops):
        names = explain_names([source], source.clips())
        if names:
            raise InvalidValueError(f'{names} (--filename-tmpl)')
        raise MissingFileError(
            f'{source.root}: got {len(crops.clips)} sub-folders and no crop, expected '
            f'<clip>/{source.templates[0].name(1)} in it; give the folder that holds the clips, '
            'and --filename-tmpl if their names differ'
        )
    _make_folder(root)
    close_store(root)
    with lock_folder(root, 'OUT'), ThreadPoolExecutor(workers) as pool:
        try:
            with closing(lmdb.open(root, map_size=MAP_SIZE, lock=False)) as env:
                _pack_clips(env, source, crops, pool, lambda done: report(done, len(crops)))
        except lmdb.Error as error:
            raise FileAccessError(
                f'{root}: writing to the store failed ({error}) with '
                f'{shutil.disk_usage(root).free / 1e9:.1f} GB free on its disk; if the disk or '
                'your quota is full, make room and run the same command again: complete clips are '
                'kept'
            ) from error


def verify_store(
    root: str,
    source: CropFolder | None = None,
    workers: int = 16,
    report: Report = lambda done, total: None,
) -> list[str]:
    """Read a finished store from end to end and compare it with its checksums.

    Args:
        root: The store.
        source: The folder that was packed, to compare its files as well.
        workers: Number of threads that read files.
        report: Called after each clip.

    Returns:
        list[str]: One sentence per problem; empty if there is none.

    Raises:
        OSError, ValueError: If the store cannot be opened, see ``open_store``.
    """
    store = open_store(root)
    with ThreadPoolExecutor(workers) as pool:
        try:
            with explain_store_damage(root):
                return _verify(store, source, pool, report)
        except InvalidValueError as error:
            return [str(error)]


def summarize_store(root: str) -> StoreSummary:
    """Sum up the records of a finished store."""
    with explain_store_damage(root):
        raw = read_records(open_store(root))
        records = [parse_record(record) for record in raw.values()]
    return StoreSummary(
        clips=len(records),
        crops=sum(len(record['names']) for record in records),
        bytes=sum(record['bytes'] for record in records),
        checksum=_make_mark(raw).split()[1].decode(),
    )


# ------------------------------------------------------------------ where to write


def _make_folder(root: str) -> None:
    """Make the folder of a store; raise ValueError if it holds other files."""
    if not root.endswith(SUFFIX):
        raise InvalidValueError(
            f'{root}: got a store with this name, expected a name that ends in {SUFFIX}, by which '
            'data_prefix distinguishes stores from folders; choose another name'
        )
    os.makedirs(root, exist_ok=True)
    foreign = sorted(set(os.listdir(root)) - {'data.mdb', 'lock.mdb', '.lock'})
    if foreign:
        raise InvalidValueError(
            f'{root}: got a folder with {shorten(foreign)}, expected a store, an empty folder or '
            'no folder; choose another store or move these files away'
        )


# ------------------------------------------------------------------ packing


def _pack_clips(
    env: 'lmdb.Environment',
    source: CropFolder,
    crops: FrameTable,
    pool: ThreadPoolExecutor,
    report: Callable[[int], None],
) -> None:
    with explain_store_damage(env.path()):
        records = read_records(StorePages(os.path.join(env.path(), 'data.mdb')))
    unknown = sorted(set(records) - set(crops.clips))
    if unknown or (not records and env.stat()['entries']):
        raise InvalidValueError(
            f'{env.path()}: got a store with {shorten(unknown) or "other keys"}, which '
            f'{source.root} does not have, expected a store of this folder; choose another store, '
            'or remove this one to pack again'
        )
    done = 0
    for clip, rows in zip(crops.clips, crops.rows_by_clip(), strict=True):
        names = _file_names(source, crops.frame_no[rows], crops['source'][rows])
        before = parse_record(records[clip])['names'] if clip in records else None
        if names != before:
            records[clip] = _pack_clip(env, source, clip, names, before or [], pool)
        done += len(names)
        report(done)
    with env.begin(write=True) as txn:
        if txn.get(STORE_KEY) != _make_mark(records):
            txn.put(STORE_KEY, _make_mark(records))


def _pack_clip(
    env: 'lmdb.Environment',
    source: CropFolder,
    clip: str,
    names: list[str],
    before: list[str],
    pool: ThreadPoolExecutor,
) -> bytes:
    """Write a clip in one transaction, replacing its earlier crops; returns its record."""
    map_full_error = import_lmdb().MapFullError
    while True:
        try:
            with env.begin(write=True) as txn:
                txn.delete(STORE_KEY)  # unfinished from here on
                for name in before:
                    txn.delete(crop_key(clip, name))
                checksum, size = _checksum(_put_files(txn, source, clip, names, pool))
                record = json.dumps(dict(bytes=size, checksum=checksum, names=names)).encode()
                txn.put(clip_key(clip), record)
            return record
        except map_full_error:  # the transaction was undone; try again
            env.set_mapsize(2 * env.info()['map_size'])


def _put_files(
    txn: 'lmdb.Transaction',
    source: CropFolder,
    clip: str,
    names: list[str],
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[str, bytes]]:
    """Write the files of a clip to the store; yields their names and bytes."""
    for name, data in _read_files(source, clip, names, pool):
        if not data:
            raise InvalidValueError(
                f'{os.path.join(source.root, clip, name)}: got a file of zero bytes, expected an '
                'image; unpack it from the archive again or remove it, and run the same command '
                'again: complete clips are kept'
            )
        txn.put(crop_key(clip, name), data)
        yield name, data


def _file_names(source: CropFolder, numbers: np.ndarray, spellings: np.ndarray) -> list[str]:
    """Return the file names of what ``source.frames`` found."""
    pairs = zip(numbers.tolist(), spellings.tolist(), strict=True)
    return [source.templates[spelling].name(number) for number, spelling in pairs]


def _read_files(
    source: CropFolder, clip: str, names: list[str], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of a clip's files; reads many at once."""

    def read(name: str) -> tuple[str, bytes]:
        with open(os.path.join(source.root, clip, name), 'rb') as file:
            return name, file.read()

    for start in range(0, len(names), READ_AHEAD):
        yield from pool.map(read, names[start : start + READ_AHEAD])


def _checksum(items: Iterable[tuple[str, bytes]]) -> tuple[str, int]:
    """Return the BLAKE2b checksum of names and bytes, and the number of bytes."""
    digest, size = blake2b(digest_size=DIGEST_BYTES), 0
    for name, data in items:
        encoded = os.fsencode(name)
        digest.update(b'%d %d ' % (len(encoded), len(data)))  # separates one item from the next
        digest.update(encoded)
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size


def _make_mark(records: dict[str, bytes]) -> bytes:
    """Return the mark of a finished store: the format and the checksum of all records."""
    return FORMAT + b' ' + _checksum(sorted(records.items()))[0].encode()


# ------------------------------------------------------------------ checking


def _verify(
    store: StorePages, source: CropFolder | None, pool: ThreadPoolExecutor, report: Report
) -> list[str]:
    raw = read_records(store)
    if store.get(STORE_KEY) != _make_mark(raw):
        return ['the records of the clips differ from the checksum of the store']
    records = {clip: parse_record(record) for clip, record in raw.items()}
    done, total = 0, sum(len(record['names']) for record in records.values())
    problems = []
    for clip, record in records.items():
        stored = ((name, store.get(crop_key(clip, name)) or b'') for name in record['names'])
        if _checksum(stored)[0] != record['checksum']:
            problems.append(f'clip {clip!r}: the crops in the store differ from their checksum')
        elif source is not None and record['names'] != _file_names(source, *source.frames(clip)):
            problems.append(f'clip {clip!r}: its folder has other crops, pack again')
        elif source is not None:
            files = _read_files(source, clip, record['names'], pool)
            if _checksum(files)[0] != record['checksum']:
                problems.append(f'clip {clip!r}: files of its folder differ from the store')
        done += len(record['names'])
        report(done, total)
    if source is not None:
        problems += [
            f'clip {clip!r}: it has a folder, but is not in the store, pack again'
            for clip in source.clips()
            if clip not in records
        ]
    return problems
