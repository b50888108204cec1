"""Folders with one annotation file per clip."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations.clip_names import check_known_clips
from abaw_mm.datasets.annotations.expression import read_labels
from abaw_mm.datasets.annotations.headers import FOLDERS
from abaw_mm.datasets.annotations.values import read_action_units, read_valence_arousal
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.structures import FrameTable, check_clip_names

PathOrPaths = str | os.PathLike | Sequence[str | os.PathLike]
READERS = dict(expr=read_labels, va=read_valence_arousal, au=read_action_units)


def find_annotation_files(folder: PathOrPaths, task: str = 'expr') -> dict[str, Path]:
    """Find the annotation file of each clip in one or several folders.

    Args:
        folder: A folder, such as ``annotations/EXPR_Recognition_Challenge/Train_Set``, or several.
        task (str): Track, for messages. Defaults to ``'expr'``.

    Returns:
        dict[str, Path]: Clip name to its file, sorted by clip.

    Raises:
        FileNotFoundError: If a folder holds no annotation file.
        ValueError: If two folders have the same clip.
    """
    folders = [folder] if isinstance(folder, (str, os.PathLike)) else folder
    files: dict[str, Path] = {}
    for one in folders:
        # Archives made on macOS contain '._x.txt' beside 'x.txt'.
        found = {p.stem: p for p in Path(one).glob('*.txt') if not p.name.startswith('.')}
        if not found:
            raise MissingFileError(
                f'{one}: got a folder without any <clip>.txt, expected the official annotation '
                'files; set ann_file to the folder that holds them, e.g. '
                f'annotations/{FOLDERS[task]}/Train_Set'
            )
        check_clip_names(found, one)
        for clip in sorted(found.keys() & files.keys()):
            raise InvalidValueError(
                f'ann_file: got the clip {clip!r} twice, {files[clip]} and {found[clip]}, '
                'expected each clip once; list each folder once'
            )
        files |= found
    return dict(sorted(files.items()))


def read_annotation_folder(
    folder: PathOrPaths, clips: Sequence[str] | None = None, task: str = 'expr'
) -> dict[str, np.ndarray]:
    """Read the annotations of all clips in one or several folders of official annotation files.

    Args:
        folder: A folder, such as ``annotations/EXPR_Recognition_Challenge/Train_Set``, or several.
        clips: Names of the clips to read. Defaults to all.
        task (str): ``'expr'``, ``'va'`` or ``'au'``. Defaults to ``'expr'``.

    Returns:
        dict[str, ndarray]: Clip name to its annotations, sorted by clip: (L, ) int8 labels,
        (L, 2) float32 or (L, 12) int8.

    Raises:
        FileNotFoundError: If a folder holds no annotation file.
        ValueError: If the folder lacks one of ``clips``, or a file is invalid.
    """
    files = find_annotation_files(folder, task)
    if clips is not None:
        check_known_clips(clips, list(files), folder)
        files = {clip: files[clip] for clip in sorted(set(clips))}
    return {clip: READERS[task](path) for clip, path in files.items()}


def number_lines(start_index: int = 1, **columns: Mapping[str, np.ndarray]) -> FrameTable:
    """Turn the annotation lines of each clip into a table with one row per line.

    Args:
        start_index (int): Frame number of the first line of each clip. Defaults to 1, as in the
            official crops.
        **columns (Mapping): Clip name to the values (L, ...) of its lines, such as
            ``label=labels``.

    >>> table = number_lines(label={'b': np.array([4]), 'a': np.array([0, -1])})
    >>> table.clip.tolist(), table.frame_no.tolist(), table['label'].tolist()
    (['a', 'a', 'b'], [1, 2, 1], [0, -1, 4])
    """
    lines = next(iter(columns.values()))
    numbers = {
        clip: np.arange(start_index, start_index + len(lines[clip]), dtype=np.int32)
        for clip in sorted(lines)
    }
    return FrameTable.from_clips(numbers, **columns)


def stamp_annotations(path: PathOrPaths) -> list[tuple[str, int, int, int]]:
    """Return name, size and times of change of each annotation file, sorted by clip.

    Args:
        path: One or several folders of annotation files, files of the multi-task track, or the
            challenge's list of frames.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else path
    are_files = not os.path.isdir(paths[0])
    files = map(Path, paths) if are_files else find_annotation_files(paths).values()
    stats = [(file.name, file.stat()) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats]
