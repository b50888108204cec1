"""Import features that other programs wrote."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abaw_mm.apis.features.clip_arrays import ClipArray, check_features, sort_by_clip
from abaw_mm.apis.features.feature_file import META, open_features
from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.features.feature_folder import CLIPS, REQUIRED
from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.files import lock_folder, remove_drafts, sha256
from abaw_mm.progress import Update
from abaw_mm.structures import FrameTable


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        folder (FeatureFolder): The folder.
        clips (int): Number of clips.
        frames (int): Number of frames.
        dtypes (list[str]): Types of the numbers in the files.
        rounding (float): Largest change by the conversion to float16.
    """

    folder: FeatureFolder
    clips: int
    frames: int
    dtypes: list[str]
    rounding: float


def import_features(
    files: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    part: int = 0,
    start_index: int = 1,
    report: Update = lambda done, total: None,
) -> Imported:
    """Write features from .npz, .h5 or pickle files into a folder of features.

    All files are checked before anything is written. The tool ``import_features.py`` lists the
    forms. A file of :func:`export_features` keeps the record of its folder; the record of other
    files names them and their checksum.

    Args:
        files: Files of one network's features, such as one per split.
        out: Folder for the features, see :class:`FeatureFolder`.
        part (int): Which array to use where an entry is a tuple of arrays.
        start_index (int): Number of a clip's first row, where rows have no numbers.
        report (Callable): Called with the number of clips written and in total.

    Raises:
        ImportError: If h5py is needed and not installed.
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is damaged or contains more than data; if names, widths or numbers are
            invalid, or a clip is in two files; if ``out`` has other features.
        OSError: If ``out`` is in use or cannot be written to.
    """
    with ExitStack() as stack:
        clips: dict[str, ClipArray] = {}
        records: list[dict[str, Any]] = []
        for path in files:
            entries = dict(stack.enter_context(open_features(path)))
            record = entries.pop(META, None)
            if record is not None:
                records.append(_parse_record(str(record()), path))
            found = sort_by_clip(entries, path, part, start_index)
            both = sorted(set(found) & set(clips))
            if both:
                raise InvalidValueError(
                    f'{path}: got {shorten(both)}, which another file has, too, expected each clip '
                    'in one file; leave out one of them'
                )
            clips.update(found)
        dim, dtypes, rounding = _check_all(clips)
        meta = _make_meta(files, records, part, dim)
        with lock_folder(out, '--out'):
            remove_drafts(Path(out, CLIPS))
            folder = FeatureFolder.start(out, meta)
            frames = FrameTable.from_clips({c: clips[c].frame_no for c in sorted(clips)})
            remaining = folder.plan(frames)
            for done, clip in enumerate(remaining, 1):
                folder.write(clip, clips[clip].read())
                report(done, len(remaining))
        return Imported(folder, len(clips), len(frames), sorted(dtypes), rounding)


def _check_all(clips: dict[str, ClipArray]) -> tuple[int, set[str], float]:
    """Check the features of all clips; return their width, their types and the rounding."""
    dim, dtypes, rounding = None, set(), 0.0
    for clip, array in clips.items():
        features = array.read()
        check_features(features, array, clip, dim)
        dim = features.shape[1]
        dtypes.add(str(features.dtype))
        change = np.abs(features.astype(np.float16).astype(np.float64) - features)
        rounding = max(rounding, float(change.max(initial=0)))
    assert dim is not None
    return dim, dtypes, rounding


def _make_meta(
    files: Sequence[str | os.PathLike], records: list[dict[str, Any]], part: int, dim: int
) -> dict[str, Any]:
    """Return the record of the folder: that of an export, or one that names the files."""
    if records:
        if len(records) < len(files) or any(record != records[0] for record in records):
            raise InvalidValueError(
                f'got files of different features: {shorten([str(path) for path in files])}, '
                'expected those of one network; import each into a folder of its own'
            )
        if records[0]['dim'] != dim:
            raise InvalidValueError(
                f'{files[0]}: got {dim} features per frame, expected {records[0]["dim"]} of its '
                'record; export the features again'
            )
        return records[0]
    sums = [sha256(path) for path in files]
    return dict(
        config=f'import:{Path(files[0]).stem}',
        sha256=sums[0] if len(sums) == 1 else hashlib.sha256(''.join(sums).encode()).hexdigest(),
        layer=f'part {part}',
        amp=False,
        dim=dim,
        pipeline=[],
        data_preprocessor=dict(type='import', files=[Path(path).name for path in files]),
    )


def _parse_record(text: str, path: object) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not set(REQUIRED) <= set(record):
        raise InvalidValueError(
            f'{path}: got a {META} that is no record of a folder of features, expected that of an '
            'export; export the features again'
        )
    del record['format']
    return record
