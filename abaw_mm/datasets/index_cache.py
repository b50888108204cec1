"""A frame index kept in one file, which all ranks of a machine read as one memory map."""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from abaw_mm.datasets.annotations import stamp_annotations
from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    stamp_crops,
)
from abaw_mm.datasets.frame_index import (
    COLUMNS,
    FrameIndex,
)
from abaw_mm.files import atomic_write

MAGIC = b'abaw_mm frame index 1\n'  # another number for another layout of the file
RULES = 1  # another number when the same files give other rows (frame_index.py)
ALIGNMENT = 64  # bytes; a column begins at a multiple
# A folder that changed less than so many seconds ago may change again without a later time:
# file systems count in ticks of up to two seconds.
UNSETTLED = 2.0
CLOCKS_DIFFER = 60.0  # seconds by which a file server's clock may be ahead of ours


class IndexCache:
    """Keeps the frame index of one setting, and knows whether it still fits the files.

    The file holds a hash of what it was made from: names, sizes and times of the annotation files,
    times of the clips' folders, and the setting. Times are those of the last change of content and
    of the last change at all. Where any of it changed, where the file is
    damaged or of another layout, there is no cached index, and it is made anew. A file is
    written beside its place and moved there, so that nobody ever reads half of it.

    Args:
        folder (str | Path): Where the file lies.
        ann_file (str | list[str]): Annotations: a folder, several, or the challenge's list of
            frames.
        roots (Sequence[CropFolder]): Where crops lie.
        **setting: What else decides the rows, as values that JSON knows.
    """

    def __init__(
        self,
        folder: str | Path,
        ann_file: str | list[str],
        roots: Sequence[CropFolder],
        **setting: object,
    ) -> None:
        self.ann_file = ann_file
        self._ann_files = [ann_file] if isinstance(ann_file, str) else ann_file
        self.roots = roots
        # Paths from the folder on: the data may be mounted elsewhere on another machine.
        paths = [
            os.path.relpath(path, folder)
            for path in (*self._ann_files, *(root.root for root in roots))
        ]
        self._setting = json.dumps([RULES, paths, setting], sort_keys=True)
        name = hashlib.blake2b(self._setting.encode(), digest_size=6).hexdigest()
        stem = '+'.join(Path(path).stem for path in self._ann_files)
        self.path = Path(folder, f'{stem}-{name}.index')
        self._started = time.time()

    def load(self) -> FrameIndex | None:
        """The index as read-only memory maps, or None where there is none that fits."""
        self._started = time.time()
        try:
            data = np.memmap(self.path, np.uint8, 'r')
        except (OSError, ValueError):  # no file, none that can be read, an empty one
            return None
        try:
            header, columns = _parse(data)
        except ValueError:
            print_log(
                f'The frame index {self.path} is damaged; it is made anew.',
                logger='current',
                level=logging.WARNING,
            )
            return None
        if header['made_from'] != self._made_from(header['clips'])[0]:
            return None
        return _StoredIndex(
            header['clips'],
            **columns,
            counts=header['counts'],
            path=self.path,
            made_from=header['made_from'],
        )

    def save(self, frames: FrameIndex) -> None:
        """Keep an index that was read since the last :meth:`load`; no crash where it cannot be.

        What changed only just now, or while it was read, is not kept: the next one to read it
        will keep it. Times in the future never settle, which a warning tells.
        """
        made_from, newest = self._made_from(frames.clips)
        if newest > time.time() + CLOCKS_DIFFER:
            self._warn_of_future(newest)
        if newest > self._started - UNSETTLED:
            return
        try:
            with atomic_write(self.path) as draft, draft.open('wb') as file:
                file.writelines(_format(frames, made_from))
        except OSError as error:
            self._warn(error)

    def _made_from(self, clips: Sequence[str]) -> tuple[str, float]:
        """Hash of all that decides the rows, and the newest time of it, in seconds."""
        stamps = [stamp_annotations(self.ann_file), *stamp_crops(self.roots, clips)]
        newest = max(max(stamp[-2:]) for part in stamps for stamp in part) / 1e9
        text = json.dumps([self._setting, stamps])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), newest

    def _warn_of_future(self, newest: float) -> None:
        places = ' '.join([*self._ann_files, *(root.root for root in self.roots)])
        at = time.strftime('%Y-%m-%d %H:%M', time.localtime(newest))
        print_log(
            f'Files of {", ".join(self._ann_files)} or of their crops are dated in the future (up '
            f'to {at}), so that a later change could not be seen: no frame index is kept, folders '
            f'are listed at each start. `find {places} -newermt now -exec touch {{}} +` dates them '
            'now.',
            logger='current',
            level=logging.WARNING,
        )

    def _warn(self, error: OSError) -> None:
        # The same words for each data set: the logger shows a warning once.
        print_log(
            f'Cannot keep a frame index in {self.path.parent} ({error.strerror}); folders are '
            'listed at each start. Set index_cache of the dataset to a folder that can be written '
            'to, or to None.',
            logger='current',
            level=logging.WARNING,
        )


@dataclass
class _StoredIndex(FrameIndex):
    """An index whose columns are a memory map; a pickle holds its path, not its rows.

    So a spawned worker shares the map, as a forked one does.
    """

    path: Path | None = None
    made_from: str = ''

    def __reduce__(self) -> tuple:
        return _open_again, (os.path.abspath(self.path), self.made_from)


def _open_again(path: str, made_from: str) -> _StoredIndex:
    """The index that another process has open."""
    header, columns = _parse(np.memmap(path, np.uint8, 'r'))
    if header['made_from'] != made_from:
        raise ValueError(
            f'{path}: got a frame index that was made anew since this run began, expected the same '
            'one; start the run again'
        )
    return _StoredIndex(
        header['clips'], **columns, counts=header['counts'], path=Path(path), made_from=made_from
    )


def _format(frames: FrameIndex, made_from: str) -> Iterator[bytes | memoryview]:
    """Pieces of the file: the header, its text behind length and checksum, and the columns."""
    columns = [np.ascontiguousarray(getattr(frames, name)) for name in COLUMNS]
    header = json.dumps(
        dict(
            made_from=made_from,
            clips=frames.clips,
            counts=frames.counts,
            rows=len(frames),
            crc32=[zlib.crc32(column) for column in columns],
        )
    ).encode()
    preamble = MAGIC + np.array([len(header), zlib.crc32(header)], '<u4').tobytes()
    for piece in (preamble + header, *(column.view(np.uint8).data for column in columns)):
        yield piece
        yield bytes(-len(piece) % ALIGNMENT)


def _parse(data: np.ndarray) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and columns of a file's bytes; ValueError for any that :func:`_format` never wrote."""
    start = len(MAGIC) + 8
    if data[: len(MAGIC)].tobytes() != MAGIC:
        raise ValueError('other magic bytes')
    length, crc32 = np.frombuffer(data[len(MAGIC) : start].tobytes().ljust(8), '<u4').tolist()
    end = start + length
    text = data[start:end].tobytes()
    if zlib.crc32(text) != crc32:
        raise ValueError('damaged header')
    header, columns = json.loads(text), {}
    for (name, dtype), crc32 in zip(COLUMNS.items(), header['crc32'], strict=True):
        start = end + -end % ALIGNMENT
        end = start + header['rows'] * np.dtype(dtype).itemsize
        column = data[start:end]
        if end > len(data) or zlib.crc32(column) != crc32:
            raise ValueError(f'damaged column {name}')
        columns[name] = column.view(dtype)
    return header, columns
