"""Cache a frame index in one file, which all processes of a machine read as one memory map."""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from abaw_mm.datasets.annotations import stamp_annotations
from abaw_mm.datasets.crops.crop_folder import CropFolder, stamp_crops
from abaw_mm.datasets.frame_index import FrameIndex
from abaw_mm.files import DAMAGED, atomic_write

MAGIC = b'abaw_mm frame index 1\n'  # increase when the layout of the file changes
RULES = 1  # increase when the same files give other rows (frame_index.py)
ALIGNMENT = 64  # bytes; each column starts at a multiple
Layout = dict[str, tuple[str, list[int]]]  # column to dtype and shape of one row
DEFAULT_COLUMNS: Layout = dict(label=('|i1', []), source=('|i1', []))


class IndexCache:
    """Store the frame index of a dataset, and load it while it fits the files.

    The file holds a hash of what the index was made from: the arguments of the dataset, the names,
    sizes and times of the annotation files, and the times of the clips' folders. If any of these
    changed, or if the file is damaged, there is no cached index. Files are written atomically, so
    that other processes never read half of one.

    Args:
        folder (str | Path): Folder of the file.
        ann_file (str | list[str]): One or several folders of annotations, or the challenge's list
            of frames.
        roots (Sequence[CropFolder]): Where crops are stored.
        **arguments: Other arguments of the dataset that decide the rows, as JSON types.
    """

    def __init__(
        self,
        folder: str | Path,
        ann_file: str | list[str],
        roots: Sequence[CropFolder],
        **arguments: object,
    ) -> None:
        self.ann_file = ann_file
        self.roots = roots
        ann_files = [ann_file] if isinstance(ann_file, str) else ann_file
        # Relative paths: the data may be mounted elsewhere on another machine.
        paths = [os.path.relpath(path, folder) for path in (*ann_files, *(r.root for r in roots))]
        self._arguments = json.dumps([RULES, paths, arguments], sort_keys=True)
        name = hashlib.blake2b(self._arguments.encode(), digest_size=6).hexdigest()
        self.path = Path(folder, '+'.join(Path(path).stem for path in ann_files) + f'-{name}.index')
        self._made_from = ''

    def load(self) -> FrameIndex | None:
        """Load the index as read-only memory maps; None if there is none that fits the files."""
        try:
            data = np.memmap(self.path, np.uint8, 'r')
        except (OSError, ValueError):  # no file, an empty one, or one that cannot be read
            return None
        try:
            made_from, frames = _parse(data)
        except DAMAGED:
            _warn(f'The frame index {self.path} is damaged and will be rebuilt.')
            return None
        return frames if made_from == self._hash(frames.clips) else None

    def stamp(self, clips: Sequence[str]) -> None:
        """Note the state of the files that :meth:`save` stores. Call this before reading them.

        Args:
            clips: Names of all clips of the index.
        """
        self._made_from = self._hash(clips)

    def save(self, frames: FrameIndex) -> None:
        """Store an index; only warns if the folder cannot be written to."""
        try:
            with atomic_write(self.path) as draft, draft.open('wb') as file:
                file.writelines(_format(frames, self._made_from))
        except OSError as error:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            # The same words for each dataset: the logger shows a warning once.
            _warn(
                f'Cannot write a frame index to {self.path.parent} ({cause.strerror}); folders are '
                'listed at each start. Set index_cache of the dataset to a writable folder, or to '
                'None.'
            )

    def _hash(self, clips: Sequence[str]) -> str:
        """Hash everything that decides the rows."""
        stamps = [stamp_annotations(self.ann_file), *stamp_crops(self.roots, clips)]
        text = json.dumps([self._arguments, stamps])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)


def _format(frames: FrameIndex, made_from: str) -> Iterator[bytes | memoryview]:
    """Yield the pieces of the file: magic, length and checksum of the header, header, columns."""
    layout = {name: (c.dtype.str, list(c.shape[1:])) for name, c in frames.columns.items()}
    columns = [
        np.ascontiguousarray(column)
        for column in (frames.clip_id, frames.frame_no, *frames.columns.values())
    ]
    header = dict(
        made_from=made_from,
        clips=frames.clips,
        counts=frames.counts,
        rows=len(frames),
        crc32=[zlib.crc32(column.data) for column in columns],
    )
    if layout != DEFAULT_COLUMNS:
        header['columns'] = layout
    text = json.dumps(header).encode()
    yield from _pad(MAGIC + np.array([len(text), zlib.crc32(text)], '<u4').tobytes() + text)
    for column in columns:
        yield from _pad(column.reshape(-1).view(np.uint8).data)


def _pad(piece: bytes | memoryview) -> Iterator[bytes | memoryview]:
    yield piece
    yield bytes(-len(piece) % ALIGNMENT)


def _parse(data: np.ndarray) -> tuple[str, FrameIndex]:
    """Return ``made_from`` and the index; raises if :func:`_format` did not write the file."""
    start = len(MAGIC) + 8
    if data[: len(MAGIC)].tobytes() != MAGIC:
        raise ValueError('other magic bytes')
    length, crc32 = np.frombuffer(data[len(MAGIC) : start].tobytes().ljust(8), '<u4').tolist()
    end = start + length
    text = data[start:end].tobytes()
    if zlib.crc32(text) != crc32:
        raise ValueError('damaged header')
    header = json.loads(text)
    layout: Layout = dict(clip_id=('<i4', []), frame_no=('<i4', []))
    layout |= header.get('columns', DEFAULT_COLUMNS)
    columns = {}
    for (name, (dtype, row)), crc32 in zip(layout.items(), header['crc32'], strict=True):
        shape = (header['rows'], *row)
        start = end + -end % ALIGNMENT
        end = start + int(np.prod(shape)) * np.dtype(dtype).itemsize
        column = data[start:end]
        if end > len(data) or zlib.crc32(column.data) != crc32:
            raise ValueError(f'damaged column {name}')
        columns[name] = column.view(dtype).reshape(shape)
    ids, numbers = columns.pop('clip_id'), columns.pop('frame_no')
    return header['made_from'], FrameIndex(header['clips'], ids, numbers, columns, header['counts'])
