"""Packing a folder of crops into a store, and checking a store; see ``packed_crops.py``.

Every clip is one transaction that ends with the clip's record. Whenever packing is killed, the
store holds the clips before and no trace of the one in work; what was begun goes on with it.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    list_crops,
)
from abaw_mm.datasets.crops.packed_crops import (
    FORMAT,
    STORE_KEY,
    SUFFIX,
    clip_key,
    close_store,
    crop_key,
    import_lmdb,
    open_store,
    read_records,
)
from abaw_mm.errors import shorten

if TYPE_CHECKING:
    import lmdb

DIGEST_BYTES = 16  # enough against damage and mix-ups, and short enough to compare by eye
READ_AHEAD = 1024  # files that are read before they are asked for; bounds the memory
MAP_SIZE = 1 << 30  # bytes; doubled whenever the store is full
Report = Callable[[int, int], None]  # is told the crops done and the crops there are


@dataclass(frozen=True)
class StoreSummary:
    """What a store holds. The same crops give the same ``checksum``, however they were packed."""

    clips: int
    crops: int
    bytes: int  # of the crops' files
    checksum: str


def pack_crops(
    source: CropFolder, root: str, workers: int = 16, report: Report = lambda done, total: None
) -> None:
    """Write all crops of a folder into a store, or go on where an earlier call was killed.

    Clips that are complete and whose files have the same names as then are not read again.

    Args:
        source: The folder. Only files that it takes for crops are packed.
        root: The store to make or to go on with, ``*.lmdb``.
        workers: Threads that read files.
        report: Called while it goes on.

    Raises:
        FileNotFoundError: If the folder has no crop.
        ValueError: For a ``root`` that is no store of this folder, or a crop of zero bytes.
        BlockingIOError: If another process packs into the same store.
        OSError: If a file cannot be read, or writing fails, as on a full disk.
    """
    lmdb = import_lmdb()
    crops = list_crops([source], source.clips())
    total = sum(len(numbers) for numbers, _ in crops.values())
    if not total:
        raise FileNotFoundError(
            f'{source.root}: got {len(crops)} sub-folders and no crop, expected '
            f'<clip>/{source.templates[0].name(1)} under it; give the folder that holds the clips, '
            'and --filename-tmpl if their names differ'
        )
    _make_folder(root)
    close_store(root)
    with _locked(root), ThreadPoolExecutor(workers) as pool:
        try:
            with closing(lmdb.open(root, map_size=MAP_SIZE, lock=False)) as env:
                _pack_clips(env, source, crops, pool, lambda done: report(done, total))
        except lmdb.Error as error:
            raise OSError(
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

    Raises as ``open_store`` does for a store that cannot be opened.

    Args:
        root: The store.
        source: The folder it was packed from, to be read and compared as well.
        workers: Threads that read files.
        report: Called while it goes on.

    Returns:
        list[str]: What is wrong, a sentence each; empty for a sound store.
    """
    lmdb = import_lmdb()
    close_store(root)
    with closing(open_store(root, readahead=True)) as env, ThreadPoolExecutor(workers) as pool:
        try:
            with env.begin() as txn:
                return _verify(txn, source, pool, report)
        except lmdb.Error as error:
            return [f'the store cannot be read ({error})']


def summarize_store(root: str) -> StoreSummary:
    """Count what the records of a finished store say."""
    close_store(root)
    with closing(open_store(root)) as env, env.begin() as txn:
        raw = read_records(txn)
    records = [json.loads(record) for record in raw.values()]
    return StoreSummary(
        clips=len(records),
        crops=sum(len(record['names']) for record in records),
        bytes=sum(record['bytes'] for record in records),
        checksum=_mark(raw).split()[1].decode(),
    )


# ------------------------------------------------------------------ where to write


def _make_folder(root: str) -> None:
    if not root.endswith(SUFFIX):
        raise ValueError(
            f'{root}: got a store with this name, expected one that ends in {SUFFIX}, by which '
            'data_prefix tells stores from folders; give it another name'
        )
    os.makedirs(root, exist_ok=True)
    foreign = sorted(set(os.listdir(root)) - {'data.mdb', 'lock.mdb', 'pack.lock'})
    if foreign:
        raise ValueError(
            f'{root}: got a folder with {shorten(foreign)}, expected a store, an empty folder or '
            'none; name another store or move these files away'
        )


@contextmanager
def _locked(root: str) -> Iterator[None]:
    """Keep other packers away. The system frees the lock of a process that is killed."""
    with open(os.path.join(root, 'pack.lock'), 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f'{root}: another process is packing into this store, expected to be the only '
                'one; wait until it ends'
            ) from None
        yield


# ------------------------------------------------------------------ packing


def _pack_clips(
    env: 'lmdb.Environment',
    source: CropFolder,
    crops: dict[str, tuple[np.ndarray, np.ndarray]],
    pool: ThreadPoolExecutor,
    report: Callable[[int], None],
) -> None:
    with env.begin() as txn:
        records = read_records(txn)
    unknown = sorted(set(records) - set(crops))
    if unknown or (not records and env.stat()['entries']):
        raise ValueError(
            f'{env.path()}: got a store with {shorten(unknown) or "keys that are no crops"}, which '
            f'{source.root} does not have, expected a store of this folder; name another store, '
            'or remove this one to pack anew'
        )
    done = 0
    for clip, (numbers, variants) in crops.items():
        names = _names(source, numbers, variants)
        before = json.loads(records[clip])['names'] if clip in records else None
        if names != before:
            records[clip] = _pack_clip(env, source, clip, names, before or [], pool)
        done += len(names)
        report(done)
    with env.begin(write=True) as txn:
        if txn.get(STORE_KEY) != _mark(records):
            txn.put(STORE_KEY, _mark(records))


def _pack_clip(
    env: 'lmdb.Environment',
    source: CropFolder,
    clip: str,
    names: list[str],
    before: list[str],
    pool: ThreadPoolExecutor,
) -> bytes:
    """Write a clip in one transaction, in place of the crops it had before; its record."""
    lmdb = import_lmdb()

    def put(txn: 'lmdb.Transaction') -> Iterator[tuple[str, bytes]]:
        for name, data in _read_files(source, clip, names, pool):
            if not data:
                raise ValueError(
                    f'{os.path.join(source.root, clip, name)}: got a file of zero bytes, expected '
                    'an image; unpack it from the archive again or remove it, and run the same '
                    'command again: complete clips are kept'
                )
            txn.put(crop_key(clip, name), data)
            yield name, data

    while True:
        try:
            with env.begin(write=True) as txn:
                txn.delete(STORE_KEY)  # unfinished from here on
                for name in before:
                    txn.delete(crop_key(clip, name))
                checksum, size = _checksum(put(txn))
                record = json.dumps(dict(bytes=size, checksum=checksum, names=names)).encode()
                txn.put(clip_key(clip), record)
            return record
        except lmdb.MapFullError:  # nothing of the clip was kept; try again with twice the room
            env.set_mapsize(2 * env.info()['map_size'])


def _names(source: CropFolder, numbers: np.ndarray, variants: np.ndarray) -> list[str]:
    """File names of what ``source.frames`` found."""
    pairs = zip(numbers.tolist(), variants.tolist(), strict=True)
    return [source.templates[variant].name(number) for number, variant in pairs]


def _read_files(
    source: CropFolder, clip: str, names: list[str], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of a clip's files, many read at once."""

    def read(name: str) -> tuple[str, bytes]:
        with open(os.path.join(source.root, clip, name), 'rb') as file:
            return name, file.read()

    for start in range(0, len(names), READ_AHEAD):
        yield from pool.map(read, names[start : start + READ_AHEAD])


def _checksum(items: Iterable[tuple[str, bytes]]) -> tuple[str, int]:
    """BLAKE2b over names and bytes, and how many bytes there were."""
    digest, size = blake2b(digest_size=DIGEST_BYTES), 0
    for name, data in items:
        name = os.fsencode(name)
        digest.update(b'%d %d ' % (len(name), len(data)))  # keeps one apart from the next
        digest.update(name)
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size


def _mark(records: dict[str, bytes]) -> bytes:
    """What a finished store holds under its own key: the format and the checksum of all."""
    return FORMAT + b' ' + _checksum(sorted(records.items()))[0].encode()


# ------------------------------------------------------------------ checking


def _verify(
    txn: 'lmdb.Transaction', source: CropFolder | None, pool: ThreadPoolExecutor, report: Report
) -> list[str]:
    raw = read_records(txn)
    if txn.get(STORE_KEY) != _mark(raw):
        return ['the records of the clips differ from the checksum of the store']
    records = {clip: json.loads(record) for clip, record in raw.items()}
    done, total = 0, sum(len(record['names']) for record in records.values())
    problems = []
    for clip, record in records.items():
        stored = ((name, txn.get(crop_key(clip, name), b'')) for name in record['names'])
        if _checksum(stored)[0] != record['checksum']:
            problems.append(f'clip {clip!r}: the crops in the store differ from their checksum')
        elif source is not None and record['names'] != _names(source, *source.frames(clip)):
            problems.append(f'clip {clip!r}: its folder has other crops, pack again')
        elif source is not None:
            files = _read_files(source, clip, record['names'], pool)
            if _checksum(files)[0] != record['checksum']:
                problems.append(f'clip {clip!r}: files of its folder differ from the store')
        done += len(record['names'])
        report(done, total)
    if source is not None:
        problems += [
            f'clip {clip!r}: it has a folder and is not in the store, pack again'
            for clip in source.clips()
            if clip not in records
        ]
    return problems
