"""Features of frames on disk: one array per clip, an index, and how they were made."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from abaw_mm.errors import InvalidValueError, MissingFileError, shorten, shorten_text
from abaw_mm.files import atomic_write, explain_damage, read_json, read_npz
from abaw_mm.structures import MAX_INT, FrameTable, chain_tables, check_clip_names

META, INDEX, CLIPS = 'meta.json', 'index.npz', 'clips'
FORMAT = 1  # of the folder; folders with another number are rejected
REQUIRED = ('format', 'config', 'sha256', 'layer', 'dim')
MAKE = 'python tools/extract_features.py CONFIG CHECKPOINT --out FOLDER'
REPEAT = 'run the command that made the folder again, which repairs it'


class FeatureFolder:
    """A folder written by ``tools/extract_features.py``.

    - ``clips/<clip>.npy`` is (F, D) float16, one row for each frame of the clip that has a crop,
      by increasing frame number.
    - ``index.npz`` holds the frame numbers: ``clips`` (N, ) str, ``length`` (N, ) int64 and
      ``frame_no`` (sum of length, ) int32, clip after clip.
    - ``meta.json`` says how the features were made.

    Nothing is pickled and all files are written atomically. A clip in the index has either all its
    rows in its file or, before the extraction has finished, no file.

    Args:
        path: The folder.
        meta (dict): Content of ``meta.json``.
        index (FrameTable): The frames that have, or will have, features; sorted.
    """

    def __init__(self, path: str | os.PathLike, meta: dict[str, Any], index: FrameTable) -> None:
        self.path = Path(path)
        self.meta = meta
        self.index = index
        self._held: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is held in memory: a process that is not forked reads from disk."""
        return self.__dict__ | {'_held': {}}

    @property
    def index(self) -> FrameTable:
        """The frames that have, or will have, features; sorted."""
        return self._index

    @index.setter
    def index(self, index: FrameTable) -> None:
        self._index = index
        self._clip_ids = {clip: clip_id for clip_id, clip in enumerate(index.clips)}

    @property
    def dim(self) -> int:
        """Number of features per frame, D."""
        return self.meta['dim']

    def frame_numbers(self, clip: str) -> np.ndarray:
        """Return the frame numbers of a clip in the index, (F, ) int32, increasing."""
        return self.index.frame_no[self.index.rows_of(self._clip_ids[clip])]

    @classmethod
    def open(cls, path: str | os.PathLike) -> 'FeatureFolder':
        """Read meta and index.

        Raises:
            FileNotFoundError: If there is no folder of features.
            ValueError: If meta or index is damaged or has another format.
        """
        path = Path(path)
        if not (path / META).is_file():
            raise MissingFileError(
                f'{path}: got no {META}, expected a folder made by `{MAKE}`; make it, or set '
                'feature_dir of that dataset (train_dataloader.dataset.feature_dir, val_..., '
                'test_...)'
            )
        return cls(path, _read_meta(path / META), _read_index(path / INDEX))

    @classmethod
    def start(cls, path: str | os.PathLike, meta: Mapping[str, Any]) -> 'FeatureFolder':
        """Create a folder, or continue one that was made in the same way.

        Args:
            path: The folder.
            meta: How the features are made, without ``format``, as JSON types. All but the name of
                the config must equal that of an existing folder.

        Raises:
            ValueError: If the features of the folder were made in another way, or from the crops of
                another data root.
        """
        meta = json.loads(json.dumps(dict(format=FORMAT, **meta)))  # turns tuples into lists
        path = Path(path)
        if not (path / META).is_file():
            with atomic_write(path / META) as draft:
                draft.write_text(json.dumps(meta, indent=1) + '\n', encoding='utf-8')
        folder = cls.open(path)
        _check_data_root(folder, meta)
        differs = [
            f'{name}: the folder has {folder.meta.get(name)!r}, this run {meta.get(name)!r}'
            for name in sorted({*folder.meta, *meta} - {'config', 'data_root'})
            if folder.meta.get(name) != meta.get(name)
        ]
        if differs:
            raise InvalidValueError(
                f'--out {path}: got a folder of other features: {"; ".join(differs)}; expected '
                'features of one network per folder: choose another folder'
            )
        return folder

    # ------------------------------------------------------------------------------- writing

    def plan(self, frames: FrameTable) -> list[str]:
        """Add clips to the index.

        Clips whose crops changed since they were added lose their features.

        Args:
            frames (FrameTable): All crops of these clips, sorted.

        Returns:
            list[str]: The clips of ``frames`` without features, sorted.
        """
        new = set(frames.clips)
        for clip, rows in zip(frames.clips, frames.rows_by_clip(), strict=True):
            numbers = frames.frame_no[rows]
            if clip in self._clip_ids and not np.array_equal(self.frame_numbers(clip), numbers):
                self.array_path(clip).unlink(missing_ok=True)
        old = self.index.select_clips(clip for clip in self.index.clips if clip not in new)
        frames = FrameTable(frames.clips, frames.clip_id, frames.frame_no)  # numbers only
        both = chain_tables([old, frames])
        self.index = both.select_clips(sorted(both.clips))
        with atomic_write(self.path / INDEX) as draft, open(draft, 'wb') as file:
            np.savez_compressed(
                file,
                clips=np.array(self.index.clips, dtype=str),
                length=self.index.count_by_clip(),
                frame_no=self.index.frame_no,
            )
        return [clip for clip in sorted(new) if not self.has_features(clip)]

    def write(self, clip: str, features: np.ndarray) -> None:
        """Write the features of a clip, (F, D), as float16.

        Raises:
            ValueError: If the shape differs from the index, or float16 cannot hold a number.
        """
        expected = len(self.frame_numbers(clip)), self.dim
        if features.shape != expected:
            raise ValueError(
                f'features of {clip!r}: got the shape {features.shape}, expected {expected}'
            )
        with np.errstate(over='ignore'):
            features = features.astype(np.float16)
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise InvalidValueError(
                f'features of {clip!r}: got numbers that are not finite in float16 for frame '
                f'{self.frame_numbers(clip)[finite.argmin()]} ({np.count_nonzero(~finite)} such '
                'frames), expected at most 65504; the training of the checkpoint diverged'
            )
        with atomic_write(self.array_path(clip)) as draft:
            np.save(draft, features, allow_pickle=False)

    # ------------------------------------------------------------------------------- reading

    def array_path(self, clip: str) -> Path:
        """Return the path of a clip's features."""
        return self.path / CLIPS / f'{clip}.npy'

    def has_clip(self, clip: str) -> bool:
        """Return whether a clip is in the index."""
        return clip in self._clip_ids

    def has_features(self, clip: str) -> bool:
        """Return whether the features of a clip exist, fit the index and are finite."""
        try:
            self._check_finite(clip, self.read(clip))
        except (FileNotFoundError, ValueError):
            return False
        return True

    def read(self, clip: str) -> np.ndarray:
        """Return the features of a clip, (F, D) float16, read-only, as a memory map unless held.

        Raises:
            FileNotFoundError: If they do not exist.
            ValueError: If the file is damaged or does not fit the index.
        """
        if clip in self._held:
            return self._held[clip]
        path = self.array_path(clip)
        shape = (len(self.frame_numbers(clip)), self.dim)
        with explain_damage(path, f'float16 of shape {shape}', REPEAT):
            features = np.load(path, mmap_mode='r' if shape[0] else None, allow_pickle=False)
            if features.shape != shape or features.dtype != np.float16:
                raise ValueError(f'{features.dtype} of shape {features.shape}')
        return features

    def read_frames(self, clip: str, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers (F, ) of a clip's frames in [first, stop) and their features (F, D).

        Raises as :meth:`read` does.
        """
        clip_id = self._clip_ids[clip]
        rows = slice(*self.index.search(clip_id, [first, stop]).tolist())
        start = self.index.rows_of(clip_id).start
        features = self.read(clip)[rows.start - start : rows.stop - start]
        if clip not in self._held:
            self._check_finite(clip, features)
        return self.index.frame_no[rows], features

    def count_bytes(self, clips: Iterable[str]) -> int:
        """Return the size of the features of clips in bytes; unknown clips have none."""
        rows = sum(len(self.frame_numbers(clip)) for clip in clips if self.has_clip(clip))
        return rows * self.dim * np.dtype(np.float16).itemsize

    def hold(self, clips: Iterable[str]) -> None:
        """Read the features of clips into memory, read-only.

        Forked processes, such as the workers of a data loader, share this memory.

        Raises as :meth:`read` does.
        """
        for clip in clips:
            features = np.array(self.read(clip))
            self._check_finite(clip, features)
            features.flags.writeable = False
            self._held[clip] = features

    def _check_finite(self, clip: str, features: np.ndarray) -> None:
        """Raise ValueError if features (N, D) that were read are not finite."""
        if not np.isfinite(features).all():
            raise InvalidValueError(
                f'{self.array_path(clip)}: got numbers that are not finite, expected none; the '
                f'file is damaged: {REPEAT}'
            )

    def check(self, clips: Iterable[str]) -> None:
        """Check that the features of clips exist and are whole.

        Raises:
            ValueError: If the folder does not know a clip, or a file is damaged.
            FileNotFoundError: If the features of a clip were not extracted yet.
        """
        clips = list(clips)
        unknown = [clip for clip in clips if clip not in self._clip_ids]
        if unknown:
            raise InvalidValueError(
                f'{self.path}: got features of {len(self._clip_ids)} clips, without '
                f'{shorten(unknown)} of the annotations ({len(unknown)} of {len(clips)} clips); '
                'extract that split into the same folder (--split), or set ann_file or clips'
            )
        absent = [clip for clip in clips if not self.array_path(clip).is_file()]
        if absent:
            raise MissingFileError(
                f'{self.path}: got no features yet of {shorten(absent)} ({len(absent)} of '
                f'{len(clips)} clips), expected {CLIPS}/<clip>.npy; run the command that made the '
                'folder again, which extracts the missing clips'
            )
        for clip in clips:
            self.read(clip)


def _check_data_root(folder: FeatureFolder, meta: Mapping[str, Any]) -> None:
    """Raise ValueError if a folder has features of another data root."""
    got, expected = folder.meta.get('data_root'), meta.get('data_root')
    if got != expected:
        raise InvalidValueError(
            f'--out {folder.path}: got a folder with features of the crops in {got}, expected '
            f'{expected}, the data_root of this run; choose another folder, or if the data were '
            f'moved, correct data_root in {folder.path / META}'
        )


def _read_meta(path: Path) -> dict[str, Any]:
    """Read ``meta.json``; raise ValueError if it is damaged or has another format."""
    fix = 'extract into another folder'
    meta = read_json(path, f'what `{MAKE}` writes', fix)
    lacks = [name for name in REQUIRED if name not in meta]
    problem = None
    if lacks:
        problem = f'a file that lacks {shorten(lacks)}'
    elif meta['format'] != FORMAT:
        problem = f'format {shorten_text(meta["format"])}'
    elif type(meta['dim']) is not int or meta['dim'] < 1:
        problem = f'dim {shorten_text(meta["dim"])}'
    if problem:
        raise InvalidValueError(
            f'{path}: got {problem}, expected format {FORMAT} of `{MAKE}`, with a positive dim; '
            f'the file is damaged or of another version, {fix}'
        )
    return meta


def _read_index(path: Path) -> FrameTable:
    """Read ``index.npz``; an empty table without the file, ValueError if it is damaged."""
    if not path.is_file():
        return FrameTable.from_clips({})
    expected = 'the arrays clips, length and frame_no'
    fix = 'delete it and run the command that made the folder again, which keeps existing features'
    arrays = read_npz(path, expected, fix)
    with explain_damage(path, expected, fix):
        check_clip_names(arrays['clips'].tolist(), path)
        return _parse_index(*(arrays[name] for name in ('clips', 'length', 'frame_no')))


def _parse_index(clips: np.ndarray, length: np.ndarray, frame_no: np.ndarray) -> FrameTable:
    """Turn the arrays of ``index.npz`` into a table; ValueError if they do not fit each other."""
    if {array.dtype.kind for array in (length, frame_no)} - {'i', 'u'}:
        raise ValueError(f'{length.dtype} and {frame_no.dtype} instead of integers')
    if length.shape != clips.shape or length.sum() != len(frame_no) or np.any(length < 0):
        raise ValueError('its arrays do not fit each other')
    if len(frame_no) and not 0 <= frame_no.min() <= frame_no.max() <= MAX_INT:
        raise ValueError(f'frame numbers {frame_no.min()} to {frame_no.max()}')
    clip_id = np.repeat(np.arange(len(clips), dtype=np.int32), length)
    table = FrameTable(clips.tolist(), clip_id, frame_no.astype(np.int32))
    if not table.is_sorted() or len(set(table.clips)) < len(table.clips):
        raise ValueError('its frames are not sorted')
    return table
