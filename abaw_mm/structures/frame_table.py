"""One table for frames: clip names, clip ids, frame numbers and named columns."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten_text

Table = TypeVar('Table', bound='FrameTable')
MAX_INT = np.iinfo(np.int32).max
CHUNK = 1 << 18  # frames looked up at once; bounds the memory of temporary arrays
# A clip is a folder of crops, '<clip>.txt' and '<clip>.npy': its name must never leave a folder.
CLIP_NAME = re.compile(r'(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]+')
MAX_NAME = 200  # bytes; file systems allow 255, of which suffixes need some


def check_clip_names(clips: Iterable[str], source: str | os.PathLike = '') -> None:
    """Check that names of clips are names of a single folder or file.

    Every table checks its clips, whatever file they come from. Readers that know the file or the
    line call this function first.

    Args:
        clips (Iterable[str]): The names.
        source (str): Where they come from, for the message.

    Raises:
        ValueError: If a name is empty, ``.`` or ``..``, longer than 200 bytes, or contains a slash,
            a backslash or a control character.

    >>> check_clip_names(['video2_left', 'face clip 3', '1-30-1280x720'])
    """
    for clip in clips:
        if not isinstance(clip, str) or not _is_clip_name(clip):
            raise InvalidValueError(
                f'{source}{": " if source else ""}got the clip name {shorten_text(clip)}, expected '
                'the name of one folder: no slash, backslash or control character, not . or .., '
                f'at most {MAX_NAME} bytes; if the file is damaged or not to be trusted, get it '
                'again, else rename the clip'
            )


@lru_cache(1 << 16)  # every table checks its names
def _is_clip_name(clip: str) -> bool:
    try:
        return CLIP_NAME.fullmatch(clip) is not None and len(os.fsencode(clip)) <= MAX_NAME
    except UnicodeEncodeError:
        return False


def to_int32(numbers: Any, name: str) -> np.ndarray:
    """Convert integers of any origin to int32, which would wrap numbers beyond it.

    Args:
        numbers (ndarray | Sequence[int]): (F, ...) integers.
        name (str): What they are, for the message.

    Raises:
        ValueError: If a number is beyond int32 or is not an integer.

    >>> to_int32([1, 2], 'frame_no')
    array([1, 2], dtype=int32)
    """
    array = np.asarray(numbers)
    if array.dtype == np.int32 or not array.size:
        return array.astype(np.int32, copy=False)
    beyond = (array < -MAX_INT - 1) | (array > MAX_INT) if array.dtype.kind in 'iubO' else True
    if np.any(beyond):
        worst = array[np.broadcast_to(beyond, array.shape)].flat[0]
        raise InvalidValueError(f'got {name} {worst}, expected integers of up to {MAX_INT}')
    return array.astype(np.int32)


@dataclass(eq=False)
class FrameTable:
    """Frames of clips, one row per frame.

    Columns are NumPy arrays instead of an object per frame: 2.7 million frames take 27 MB instead
    of gigabytes, and all worker processes share them. Rows may have any order; methods that need a
    sorted table say so. Tables are not changed in place: methods return new ones.

    Attributes:
        clips (list[str]): Names of the clips. A clip is one annotated face track of a video.
        clip_id (ndarray): (F,) int32, index into ``clips``.
        frame_no (ndarray): (F,) int32, frame number, the number in the name of the crop's file.
        columns (dict[str, ndarray]): Further columns, (F,) or (F, K), of any dtype: a label, two
            floats (valence and arousal), twelve bits (action units), scores, ...

    Raises:
        ValueError: If a clip has a name that could leave a folder, see :func:`check_clip_names`.

    Example:
        >>> table = FrameTable.from_clips({'a': [1, 2], 'b': [7]}, label={'a': [0, 4], 'b': [3]})
        >>> len(table), table.clip_id.tolist(), table['label'].tolist()
        (3, [0, 0, 1], [0, 4, 3])
        >>> table.take(table['label'] > 0).frame_no.tolist()
        [2, 7]
    """

    clips: list[str]
    clip_id: np.ndarray
    frame_no: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_clip_names(self.clips)

    @classmethod
    def from_clips(
        cls, frame_no: Mapping[str, Iterable[int]], **columns: Mapping[str, Iterable]
    ) -> 'FrameTable':
        """Build a table from the frame numbers of each clip.

        Args:
            frame_no (Mapping): Clip name to its frame numbers; clips keep this order.
            **columns (Mapping): Clip name to the values of its frames.

        Returns:
            FrameTable: A plain table, whichever subclass is asked.
        """
        clips = list(frame_no)
        numbers = [to_int32(frame_no[clip], f'frame number of {clip!r}') for clip in clips]
        return FrameTable(
            clips,
            np.repeat(np.arange(len(clips), dtype=np.int32), [len(part) for part in numbers]),
            _concatenate(numbers, np.int32),
            {
                name: _concatenate([np.asarray(values[clip]) for clip in clips])
                for name, values in columns.items()
            },
        )

    @classmethod
    def from_rows(
        cls, clip: Sequence[str] | np.ndarray, frame_no: Sequence[int] | np.ndarray, **columns: Any
    ) -> 'FrameTable':
        """Build a table from the clip name and the frame number of each row.

        Args:
            clip (Sequence[str]): (F,) clip name of each row, in any order.
            frame_no (Sequence[int]): (F,) frame number of each row.
            **columns: (F,) or (F, K) further columns.

        Returns:
            FrameTable: A plain table whose rows keep their order and whose ``clips`` are sorted.

        >>> table = FrameTable.from_rows(['b', 'a', 'b'], [7, 1, 8])
        >>> table.clips, table.clip_id.tolist()
        (['a', 'b'], [1, 0, 1])
        """
        names = np.asarray(clip, dtype=str)
        # Frames of a clip are mostly neighbours: one name per run is much faster to sort.
        starts = np.append(True, names[1:] != names[:-1])[: len(names)]
        clips, run_id = np.unique(names[starts], return_inverse=True)
        return FrameTable(
            clips.tolist(),
            run_id.astype(np.int32)[np.cumsum(starts) - 1],
            to_int32(frame_no, 'frame number'),
            {name: np.asarray(column) for name, column in columns.items()},
        )

    def __len__(self) -> int:
        return len(self.frame_no)

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    @property
    def clip(self) -> np.ndarray:
        """(F,) str, the clip name of each frame."""
        return np.array(self.clips, dtype=str)[self.clip_id]

    @property
    def key(self) -> np.ndarray:
        """(F,) int64, one number per frame that sorts by clip id, then by frame number."""
        return self.clip_id.astype(np.int64) << 32 | self.frame_no

    def is_sorted(self) -> bool:
        """Return whether rows are sorted by clip id and frame number, each frame once."""
        key = self.key
        return bool(np.all(key[1:] > key[:-1]))

    def argsort(self) -> np.ndarray:
        """Return the row numbers that sort the table by clip id and frame number; (F,) int64."""
        return np.argsort(self.key, kind='stable')

    def sort(self: Table) -> Table:
        """Return the table sorted by clip id and frame number."""
        return self if self.is_sorted() else self.take(self.argsort())

    def find_duplicates(self) -> np.ndarray:
        """Return the row numbers of frames that an earlier row has, too; (D,) int64."""
        if self.is_sorted():
            return np.empty(0, np.int64)
        order = self.argsort()
        key = self.key[order]
        return order[1:][key[1:] == key[:-1]]

    def describe(self, row: int) -> str:
        """Name a frame in a message, such as ``frame 12 of 'video2'``."""
        return f'frame {self.frame_no[row]} of {self.clips[self.clip_id[row]]!r}'

    def name_frames(self, rows: np.ndarray | slice = slice(None)) -> list[str]:
        """Name frames for a list in a message, such as ``video2/12``."""
        ids, numbers = self.clip_id[rows].tolist(), self.frame_no[rows].tolist()
        return [f'{self.clips[i]}/{number}' for i, number in zip(ids, numbers, strict=True)]

    def count_by_clip(self) -> np.ndarray:
        """Return the number of frames of each clip, (C,) int64."""
        return np.bincount(self.clip_id, minlength=len(self.clips))

    def rows_by_clip(self) -> list[slice | np.ndarray]:
        """Return the rows of each clip, which index columns.

        Returns:
            list: A slice per clip if frames are grouped in the order of ``clips``, else an array
            of row numbers per clip. Rows keep their order.

        >>> table = FrameTable(['a', 'b'], np.array([0, 0, 1]), np.array([1, 2, 7]))
        >>> table.rows_by_clip()
        [slice(0, 2, None), slice(2, 3, None)]
        """
        if np.all(self.clip_id[1:] >= self.clip_id[:-1]):
            ends = self._ends.tolist()
            return [slice(*pair) for pair in zip([0, *ends][: len(ends)], ends, strict=True)]
        return list(np.split(np.argsort(self.clip_id, kind='stable'), self._ends[:-1]))

    def rows_of(self, clip_id: int) -> slice:
        """Return the rows of one clip of a sorted table."""
        return slice(int(self._ends[clip_id - 1]) if clip_id else 0, int(self._ends[clip_id]))

    @cached_property
    def _ends(self) -> np.ndarray:
        """(C,) int64, the row after the last of each clip where rows are grouped by clip."""
        return np.cumsum(self.count_by_clip())

    def take(self: Table, rows: np.ndarray | slice) -> Table:
        """Return the given rows (row numbers, a mask or a slice) as a table of the same kind."""
        return replace(
            self,
            clip_id=self.clip_id[rows],
            frame_no=self.frame_no[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
        )

    def with_columns(self: Table, **columns: np.ndarray) -> Table:
        """Return the table with columns added or replaced."""
        return replace(self, columns=self.columns | columns)

    def find(self, frames: 'FrameTable') -> np.ndarray:
        """Look up the frames of another table by clip name and frame number.

        Args:
            frames (FrameTable): Frames to look up; ids and order of its clips may differ.

        Returns:
            ndarray: (G,) int64, the row of each of the G frames in this table, -1 if it is not
            here. Of equal frames of this table, the first row.

        >>> table = FrameTable.from_clips({'a': [1, 2], 'b': [7]})
        >>> table.find(FrameTable.from_clips({'b': [7, 8], 'a': [2]})).tolist()
        [2, -1, 1]
        """
        rows = np.full(len(frames), -1, np.int64)
        if not len(self):
            return rows
        id_of = {clip: clip_id for clip_id, clip in enumerate(self.clips)}
        ids = np.array([id_of.get(clip, -1) for clip in frames.clips], np.int64)
        key = self.key
        order = None
        if not np.all(key[1:] >= key[:-1]):
            order = np.argsort(key, kind='stable')
            key = key[order]
        for start in range(0, len(frames), CHUNK):
            part = slice(start, start + CHUNK)
            clip_id = ids[frames.clip_id[part]]
            wanted = clip_id << 32 | frames.frame_no[part]
            at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
            found = (key[at] == wanted) & (clip_id >= 0)
            rows[part] = np.where(found, at if order is None else order[at], -1)
        return rows

    def find_missing(self, frames: 'FrameTable') -> np.ndarray:
        """Return the row numbers of another table's frames that this table does not have."""
        return np.flatnonzero(self.find(frames) < 0)

    def search(self, clip_id: int, frame_no: np.ndarray | Sequence[int]) -> np.ndarray:
        """Find where frame numbers are, or would be, among the rows of a clip.

        The table must be sorted.

        Args:
            clip_id (int): Index into ``clips``.
            frame_no (ndarray): (N,) frame numbers.

        Returns:
            ndarray: (N,) int64, for each the first row of the clip whose frame number is not
            smaller, or the row after the clip's last.

        >>> table = FrameTable.from_clips({'a': [1, 2], 'b': [3, 7, 8]})
        >>> slice(*table.search(1, [5, 8]).tolist())  # frames 5 to 7 of b
        slice(3, 4, None)
        """
        rows = self.rows_of(clip_id)
        return rows.start + np.searchsorted(self.frame_no[rows], frame_no)

    def select_clips(self: Table, clips: Iterable[str]) -> Table:
        """Return the frames of the given clips only, which get the given order.

        Clips that the table does not have are kept as clips without frames.
        """
        clips = list(clips)
        rows_of = dict(zip(self.clips, self.rows_by_clip(), strict=True))
        every = np.arange(len(self))
        parts = [every[rows_of.get(clip, slice(0))] for clip in clips]
        selected = self.take(_concatenate(parts, np.int64))
        return replace(
            selected,
            clips=clips,
            clip_id=np.repeat(np.arange(len(clips), dtype=np.int32), [len(p) for p in parts]),
        )


def chain_tables(parts: Sequence[FrameTable]) -> FrameTable:
    """Put tables one after the other; clips stay apart even if their names are the same.

    Args:
        parts (Sequence[FrameTable]): At least one, with the same columns. A single table is
            returned as it is.
    """
    if len(parts) == 1:
        return parts[0]
    first_ids = np.cumsum([0, *(len(part.clips) for part in parts[:-1])]).tolist()
    return FrameTable(
        [clip for part in parts for clip in part.clips],
        _concatenate([p.clip_id + n for p, n in zip(parts, first_ids, strict=True)], np.int32),
        _concatenate([part.frame_no for part in parts], np.int32),
        {name: _concatenate([part[name] for part in parts]) for name in parts[0].columns},
    )


def merge_tables(
    parts: Sequence[FrameTable], targets: Sequence[str] = (), apart: str | None = None
) -> FrameTable:
    """Merge tables, such as what several processes hold, into one that has each frame once.

    Samplers pad the last batch with frames that another process has, too. Counted twice they would
    make a score depend on the number of processes.

    Args:
        parts (Sequence[FrameTable]): At least one, with the same columns. Their clips may have any
            order, and so may their rows.
        targets (Sequence[str]): Columns in which the copies of a frame must agree. In the others
            the first copy counts.
        apart (str, optional): Column of integers. Rows of a frame that differ in it are no copies
            and are all kept, sorted by it.

    Returns:
        FrameTable: Sorted by clip name and frame number.

    Raises:
        ValueError: If two copies of a frame have different targets, as when two datasets have
            clips of the same name.

    >>> one = FrameTable.from_clips({'b': [2, 1]})
    >>> other = FrameTable.from_clips({'a': [5], 'b': [2]})
    >>> merged = merge_tables([one, other])
    >>> merged.clip.tolist(), merged.frame_no.tolist()
    (['a', 'b', 'b'], [5, 1, 2])
    """
    parts = [part for part in parts if len(part)] or list(parts[:1])
    clips = sorted(set().union(*(part.clips for part in parts)))
    id_of = {clip: clip_id for clip_id, clip in enumerate(clips)}
    merged = FrameTable(
        clips,
        _concatenate(
            [np.array([id_of[c] for c in p.clips], np.int32)[p.clip_id] for p in parts], np.int32
        ),
        _concatenate([part.frame_no for part in parts], np.int32),
        {name: _concatenate([part[name] for part in parts]) for name in parts[0].columns},
    )
    if merged.is_sorted():
        return merged
    order = merged.argsort() if apart is None else np.lexsort((merged[apart], merged.key))
    merged = merged.take(order)
    key = merged.key
    is_copy = np.append(False, key[1:] == key[:-1])
    if apart is not None:
        is_copy[1:] &= merged[apart][1:] == merged[apart][:-1]
    for name in targets:
        _check_copies_agree(merged, name, is_copy)
    return merged.take(~is_copy)


def average_rows(table: FrameTable, columns: Sequence[str]) -> FrameTable:
    """Replace the rows of each frame by one, with the means of some columns.

    Other columns keep the value of the frame's first row.

    Args:
        table (FrameTable): Rows grouped by frame.
        columns (Sequence[str]): Names of columns of floats, (F,) or (F, K). Sums are taken in
            float64, in the order of the rows.

    >>> table = FrameTable.from_rows(['a'] * 3, [1, 1, 2], score=np.float32([0.2, 0.4, 0.8]))
    >>> average_rows(table, ['score'])['score'].tolist() == np.float32([0.3, 0.8]).tolist()
    True
    """
    key = table.key
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: len(key)])
    if len(first) == len(table):
        return table
    count = np.diff(np.append(first, len(table)))
    means = {}
    for name in columns:
        total = np.add.reduceat(table[name].astype(np.float64), first, axis=0)
        mean = total / count.reshape(-1, *[1] * (total.ndim - 1))
        means[name] = mean.astype(table[name].dtype)
    return table.take(first).with_columns(**means)


def _check_copies_agree(table: FrameTable, name: str, is_copy: np.ndarray) -> None:
    """Raise ValueError if a row differs in a column from the row before, of which it is a copy."""
    column = table[name].reshape(len(table), -1)
    one, other = column[:-1], column[1:]
    same = np.all((one == other) | ((one != one) & (other != other)), axis=1)  # NaN equals NaN
    differs = np.flatnonzero(is_copy[1:] & ~same)
    if len(differs):
        row = int(differs[0])
        raise InvalidValueError(
            f'{table.describe(row)}: got two values of {name}, {table[name][row].tolist()} and '
            f'{table[name][row + 1].tolist()}, expected one per frame; two datasets of the set '
            'have clips of the same name: score them separately'
        )


def _concatenate(parts: Sequence[np.ndarray], dtype: type | None = None) -> np.ndarray:
    return np.concatenate(parts) if len(parts) else np.empty(0, dtype)
