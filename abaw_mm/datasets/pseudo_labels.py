"""Pseudo-labels: copies of annotation files in which lines labelled -1 have a predicted class."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from abaw_mm.datasets.annotations import find_annotation_files, number_lines, read_annotation_folder
from abaw_mm.datasets.annotations.headers import find_track, normalise_header
from abaw_mm.errors import InvalidValueError
from abaw_mm.files import new_folder, read_json, read_text
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import UNLABELLED

PROVENANCE = 'pseudo_labels.json'  # beside the annotation files


def list_unlabelled(folder: str | os.PathLike, start_index: int = 1) -> FrameTable:
    """List the frames labelled -1 in a folder of annotation files.

    Raises:
        ValueError: If there is none, or a file is invalid.
    """
    _check_track(folder)
    lines = number_lines(start_index, label=read_annotation_folder(folder))
    found = lines.take(lines['label'] == UNLABELLED)
    if not len(found):
        raise InvalidValueError(f'{folder}: got no line labelled -1, expected some to predict')
    return found


def _check_track(folder: str | os.PathLike) -> None:
    """Raise ValueError for annotations of another track, which have no pseudo-labels."""
    path = next(iter(find_annotation_files(folder).values()))
    task = find_track(normalise_header(read_text(path, 'an annotation file').partition('\n')[0]))
    if task not in (None, 'expr'):
        raise InvalidValueError(
            f'{path}: got annotations of the {task.upper()} track, expected expressions, the only '
            'ones that pseudo-labels are made for; name a folder of the EXPR annotations'
        )


def write_pseudo_labels(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    frames: FrameTable,
    provenance: Mapping,
    start_index: int = 1,
) -> int:
    """Copy a folder of annotation files, with classes on lines labelled -1.

    All other bytes of the files are unchanged. The folder appears when it is complete. It also
    holds ``pseudo_labels.json``: what ``provenance`` says, and under ``lines`` the number of filled
    lines of each clip.

    Args:
        folder: Folder of official annotation files.
        out: Folder to write; new or empty.
        frames (FrameTable): Frames and their ``label``, -1 for none. Frames that are not labelled
            -1 in ``folder`` are ignored.
        provenance (Mapping): Where the labels come from, as JSON types.
        start_index (int): Number of a clip's first frame. Defaults to 1.

    Returns:
        int: Number of filled lines.

    Raises:
        FileNotFoundError: If ``folder`` holds no annotation file.
        FileAccessError: If ``out`` exists and is not empty.
        ValueError: If ``folder`` has pseudo-labels already, or no line is filled.
    """
    if count_pseudo_labels([folder]):
        raise InvalidValueError(
            f'{folder}: got annotations with pseudo-labels, expected the official ones'
        )
    unlabelled = list_unlabelled(folder, start_index)
    rows = frames.find(unlabelled)
    unlabelled['label'][rows >= 0] = frames['label'][rows[rows >= 0]]
    found = unlabelled.take(unlabelled['label'] != UNLABELLED)
    if not len(found):
        raise InvalidValueError(
            f'{folder}: got no class for any of {len(unlabelled)} lines labelled -1, expected '
            'some; give predictions of these frames, or lower --threshold'
        )
    rows_of = dict(zip(found.clips, found.rows_by_clip(), strict=True))
    counts = {}
    with new_folder(out) as draft:
        for clip, path in find_annotation_files(folder).items():
            lines = path.read_bytes().splitlines(keepends=True)
            at = rows_of.get(clip, slice(0))
            for number, cls in zip(found.frame_no[at], found['label'][at], strict=True):
                line = int(number) - start_index + 1  # after the header
                lines[line] = lines[line].replace(b'-1', str(cls).encode())
            (draft / path.name).write_bytes(b''.join(lines))
            counts[clip] = len(found.frame_no[at])
        content = json.dumps(dict(provenance) | {'lines': counts}, indent=1)
        (draft / PROVENANCE).write_text(content + '\n', encoding='utf-8')
    return len(found)


def count_pseudo_labels(
    folders: Sequence[str | os.PathLike], clips: Sequence[str] | None = None
) -> int:
    """Count the lines of annotation folders that are pseudo-labels.

    Args:
        folders: Folders of annotation files.
        clips: Names of the clips to count. Defaults to all.

    Raises:
        ValueError: If ``pseudo_labels.json`` is damaged.
    """
    total = 0
    for path in (Path(folder, PROVENANCE) for folder in folders):
        if path.is_file():
            fix = 'write the folder again with tools/dataset_converters/make_pseudo_labels.py'
            lines = read_json(path, 'the provenance of pseudo-labels', fix).get('lines')
            if not isinstance(lines, dict) or not all(isinstance(n, int) for n in lines.values()):
                raise InvalidValueError(f'{path}: got no number of lines for each clip; {fix}')
            total += sum(n for clip, n in lines.items() if clips is None or clip in clips)
    return total


def check_official(counts: Mapping, owner: str) -> None:
    """Check that the labels of a set that is scored are official ones.

    Args:
        counts (Mapping): Counts of the frame index.
        owner (str): Class name of the dataset, for the message.

    Raises:
        ValueError: If some are pseudo-labels.
    """
    if counts.get('pseudo'):
        raise InvalidValueError(
            f'{owner}: got {counts["pseudo"]} lines with pseudo-labels in a set that is scored, '
            'expected official annotations; set ann_file of the validation or test set to them'
        )
