"""Features of frames on disk: one array a clip, an index, and what they were made by."""

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from abaw_mm.errors import shorten
from abaw_mm.files import atomic_write

META, INDEX, CLIPS = 'meta.json', 'index.npz', 'clips'
FORMAT = 1  # of the folder; another number is refused
REQUIRED = ('format', 'config', 'sha256', 'layer', 'dim')
MAKE = 'python tools/extract_features.py CONFIG CHECKPOINT --out FOLDER'


class FeatureFolder:
    """A folder that ``tools/extract_features.py`` makes.

    ``clips/<clip>.npy`` is (F, D) float16, a row for every frame of the clip that has a crop, by
    rising frame number; ``index.npz`` tells the numbers (``clips`` (N, ) str, ``length`` (N, )
    int64, ``frame_no`` (sum of length, ) int32, clip after clip); ``meta.json`` what the features
    were made by. Nothing in it is pickled, every file is written whole or not at all. A clip that
    is in the index has all its rows in its file or, while the extraction is not finished, no file.

    Args:
        path: The folder.
        meta (dict): What is in ``meta.json``.
        frame_no (dict[str, ndarray]): Clip to the numbers of its frames, (F, ) int32, rising.
    """

    def __init__(
        self, path: str | os.PathLike, meta: dict[str, Any], frame_no: dict[str, np.ndarray]
    ) -> None:
        self.path = Path(path)
        self.meta = meta
        self.frame_no = frame_no

    @property
    def dim(self) -> int:
        """Numbers a frame, D."""
        return self.meta['dim']

    @classmethod
    def open(cls, path: str | os.PathLike) -> 'FeatureFolder':
        """Read meta and index.

        Raises:
            FileNotFoundError: If there is no such folder of features.
            ValueError: If its meta or index is damaged or of another format.
        """
        path = Path(path)
        if not (path / META).is_file():
            raise FileNotFoundError(
                f'{path}: no features there (no {META}), expected a folder that `{MAKE}` made; '
                'make it, or set feature_dir of that dataset (train_dataloader.dataset.feature_dir,'
                ' val_..., test_...)'
            )
        try:
            meta = json.loads((path / META).read_text(encoding='utf-8'))
            lacks = [name for name in REQUIRED if name not in meta]
            if lacks or meta['format'] != FORMAT:
                raise ValueError(
                    f'lacks {shorten(lacks)}'
                    if lacks
                    else f'format {meta["format"]!r}, expected {FORMAT}'
                )
        except (ValueError, TypeError) as error:
            raise ValueError(
                f'{path / META}: got a file that is damaged or of another version ({error}), '
                f'expected what `{MAKE}` writes; extract into another folder'
            ) from error
        return cls(path, meta, _read_index(path / INDEX) if (path / INDEX).is_file() else {})

    @classmethod
    def start(cls, path: str | os.PathLike, meta: Mapping[str, Any]) -> 'FeatureFolder':
        """Begin a folder, or go on with one that was made by the same.

        Args:
            path: The folder.
            meta: What the features are made by, without ``format``; JSON can hold it. All but the
                name of the config has to be that of the folder.

        Raises:
            ValueError: If the folder's features were made by something else, with what differs.
        """
        meta = json.loads(json.dumps(dict(format=FORMAT, **meta)))  # tuples are lists from here on
        path = Path(path)
        if not (path / META).is_file():
            with atomic_write(path / META) as draft:
                draft.write_text(json.dumps(meta, indent=1) + '\n', encoding='utf-8')
        folder = cls.open(path)
        differs = [
            f'{name}: the folder has {folder.meta.get(name)!r}, this run {meta.get(name)!r}'
            for name in sorted({*folder.meta, *meta} - {'config'})
            if folder.meta.get(name) != meta.get(name)
        ]
        if differs:
            raise ValueError(
                f'--out {path}: got a folder of other features: {"; ".join(differs)}. Features of '
                'two networks do not belong together; give another folder'
            )
        return folder

    # ------------------------------------------------------------------------------- writing

    def plan(self, frame_no: Mapping[str, np.ndarray]) -> list[str]:
        """Take clips into the index; those that have no features yet are returned, in order.

        Clips whose crops are no longer those of the index lose their features, and are among them.

        Args:
            frame_no: Clip to the numbers of all its crops, rising.
        """
        for clip, numbers in frame_no.items():
            known = self.frame_no.get(clip)
            if known is not None and not np.array_equal(known, numbers):
                self.array_path(clip).unlink(missing_ok=True)
        self.frame_no = dict(sorted({**self.frame_no, **frame_no}.items()))
        with atomic_write(self.path / INDEX) as draft:
            with open(draft, 'wb') as file:
                numbers = list(self.frame_no.values())
                np.savez_compressed(
                    file,
                    clips=np.array(list(self.frame_no), dtype=str),
                    length=np.array([len(part) for part in numbers], np.int64),
                    frame_no=np.concatenate([np.empty(0, np.int32), *numbers]).astype(np.int32),
                )
        return [clip for clip in sorted(frame_no) if not self.is_whole(clip)]

    def write(self, clip: str, features: np.ndarray) -> None:
        """Write the features of a clip, (F, D), as float16.

        Raises:
            ValueError: For another shape than the index has, or numbers that float16 cannot hold.
        """
        expected = len(self.frame_no[clip]), self.dim
        if features.shape != expected:
            raise ValueError(
                f'features of {clip!r}: got the shape {features.shape}, expected {expected}'
            )
        with np.errstate(over='ignore'):
            features = features.astype(np.float16)
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise ValueError(
                f'features of {clip!r}: got numbers that are not finite in float16 for frame '
                f'{self.frame_no[clip][finite.argmin()]} ({np.count_nonzero(~finite)} such '
                'frames), expected at most 65504; the checkpoint is of a training that diverged'
            )
        with atomic_write(self.array_path(clip)) as draft:
            np.save(draft, features, allow_pickle=False)

    # ------------------------------------------------------------------------------- reading

    def array_path(self, clip: str) -> Path:
        """Where the features of a clip lie."""
        return self.path / CLIPS / f'{clip}.npy'

    def is_whole(self, clip: str) -> bool:
        """Whether the features of a clip are there, and fit the index."""
        try:
            self.read(clip)
        except (FileNotFoundError, ValueError):
            return False
        return True

    def read(self, clip: str) -> np.ndarray:
        """Features of a clip, (F, D) float16, as a memory map: what is not looked at is not read.

        Raises:
            FileNotFoundError: If they are not there.
            ValueError: If the file is damaged, or does not fit the index.
        """
        path = self.array_path(clip)
        expected = (len(self.frame_no[clip]), self.dim)
        try:
            features = np.load(path, mmap_mode='r' if expected[0] else None, allow_pickle=False)
            if features.shape != expected or features.dtype != np.float16:
                raise ValueError(f'{features.dtype} of shape {features.shape}')
        except (ValueError, EOFError) as error:
            raise ValueError(
                f'{path}: got a damaged file or another array ({error}), expected float16 of shape '
                f'{expected}; delete it, and make it again by the command that made the folder'
            ) from error
        return features

    def check(self, clips: Iterable[str]) -> None:
        """See that the features of these clips are all there.

        Raises:
            ValueError: Naming clips that the folder does not know.
            FileNotFoundError: Naming clips whose extraction has not come to an end.
        """
        clips = list(clips)
        unknown = [clip for clip in clips if clip not in self.frame_no]
        if unknown:
            raise ValueError(
                f'{self.path}: got features of {len(self.frame_no)} clips, without '
                f'{shorten(unknown)}'
                f' of the annotations ({len(unknown)} of {len(clips)} clips); extract that split, '
                'too (--split), into the same folder, or set ann_file or clips'
            )
        absent = [clip for clip in clips if not self.array_path(clip).is_file()]
        if absent:
            raise FileNotFoundError(
                f'{self.path}: got no features yet of {shorten(absent)} ({len(absent)} of '
                f'{len(clips)} clips), expected {CLIPS}/<clip>.npy; run the command that made the '
                'folder again, it goes on where it stood'
            )
        for clip in clips:
            self.read(clip)


def _read_index(path: Path) -> dict[str, np.ndarray]:
    """Clip to the numbers of its frames."""
    try:
        with np.load(path, allow_pickle=False) as file:
            clips, length, frame_no = (file[name] for name in ('clips', 'length', 'frame_no'))
        if len(clips) != len(length) or length.sum() != len(frame_no):
            raise ValueError('its arrays do not fit each other')
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f'{path}: got a damaged index ({error}), expected clips, length and frame_no; delete '
            'it, and run the command that made the folder again: features that are there stay'
        ) from error
    parts = np.split(frame_no, np.cumsum(length)[:-1]) if len(length) else []
    return dict(zip(clips.tolist(), parts, strict=True))
