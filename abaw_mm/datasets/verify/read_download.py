"""Find and read the files of a download of Aff-Wild2; report invalid files as findings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import (
    find_annotation_files,
    number_lines,
    read_frame_list,
    read_multi_task,
)
from abaw_mm.datasets.annotations.clip_files import READERS
from abaw_mm.datasets.verify.findings import Finding
from abaw_mm.errors import MissingFileError, shorten
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import get_targets

EDITIONS = {  # folders of each track, latest edition of the challenge first
    'expr': ('EXPR_Recognition_Challenge', 'EXPR_Classification_Challenge', 'EXPR_Set'),
    'va': ('VA_Estimation_Challenge', 'VA_Set'),
    'au': ('AU_Detection_Challenge', 'AU_Set'),
    'mtl': ('MTL_Challenge',),
}
SPLIT_FOLDERS = {'train': ('Train_Set', 'Training_Set'), 'val': ('Validation_Set',)}
MULTI_TASK_FILES = {  # one file for all clips; the third edition has the second names
    'train': ('training_set_annotations.txt', 'train_set.txt'),
    'val': ('validation_set_annotations.txt', 'validation_set.txt'),
}
CROP_FOLDERS = ('cropped_aligned', 'cropped_aligned_new_50_vids')  # the second was added later
BATCHES = ('', 'batch1', 'batch2')  # some copies of the archives keep these folders


@dataclass
class Split:
    """The lines of a split.

    Attributes:
        name (str): ``'train'``, ``'val'``, ``'test'`` or the name of a folder.
        path (str): Folder of annotations, or the challenge's list of frames.
        lines (dict): Clip name to the frame numbers of its lines (L, ) int32, increasing, and
            their labels (L, ) int8, None if hidden. Lines of the multi-task track may repeat a
            number, and other tracks have a table of their targets instead of labels.
        hidden (bool): Whether labels are hidden, as those of a list of frames.
        task (str): Track.
    """

    name: str
    path: str
    lines: dict[str, tuple[np.ndarray, FrameTable | None]] = field(default_factory=dict)
    hidden: bool = False
    task: str = 'expr'


def find_annotations(root: Path, task: str = 'expr') -> dict[str, Path]:
    """Find the annotations of the latest edition in a folder or one level below.

    Args:
        root (Path): Data root, or the folder of one edition.
        task (str): Track. Defaults to ``'expr'``.

    Returns:
        dict[str, Path]: ``'train'`` and ``'val'`` to their folders, or to their files in the
        multi-task track; empty if there are none.
    """
    places = [root]
    known = MULTI_TASK_FILES if task == 'mtl' else SPLIT_FOLDERS
    for edition in EDITIONS[task]:
        places += [root / edition, *sorted(root.glob(f'*/{edition}'))]
    for place in places:
        found = {
            split: place / name
            for split, names in known.items()
            for name in names
            if (place / name).is_dir() != (task == 'mtl') and (place / name).exists()
        }
        if found:
            return found
    return {}


def require_annotations(
    root: Path, splits: Sequence[str] = ('train', 'val'), task: str = 'expr'
) -> list[Path]:
    """Return the folders of the annotations of some splits, see :func:`find_annotations`.

    Raises:
        FileNotFoundError: If there are no annotations of a split.
    """
    found = find_annotations(root, task)
    missing = [split for split in splits if split not in found]
    if missing:
        raise MissingFileError(
            f'{root}: got no annotations of {shorten(missing)}, expected {example_path(task)}; '
            'correct the data root, or give the folders with --ann-dir'
        )
    return [found[split] for split in splits]


def example_path(task: str) -> str:
    """Return where the annotations of a track are, for messages.

    >>> example_path('va')
    'a folder such as annotations/VA_Estimation_Challenge/Train_Set'
    """
    if task == 'mtl':
        return f'a file such as annotations/{EDITIONS[task][0]}/{MULTI_TASK_FILES["train"][0]}'
    return f'a folder such as annotations/{EDITIONS[task][0]}/{SPLIT_FOLDERS["train"][0]}'


def find_crops(root: Path) -> list[Path]:
    """Find the folders of crops in a data root by their official names."""
    places = [root / batch / name for batch in BATCHES for name in CROP_FOLDERS]
    return [place for place in places if place.is_dir()]


def read_annotations(name: str, folder: Path, task: str = 'expr') -> tuple[Split, list[Finding]]:
    """Read all valid files of a folder of annotations; returns a finding for each invalid one."""
    split = Split(name, str(folder), task=task)
    findings = []
    if task == 'mtl':
        try:
            table = read_multi_task(folder).sort()
        except (ValueError, OSError) as error:
            return split, [Finding('annotation', str(error), name)]
        for clip, rows in zip(table.clips, table.rows_by_clip(), strict=True):
            split.lines[clip] = table.frame_no[rows], table.take(rows)
        return split, []
    try:
        files = find_annotation_files(folder, task)
    except FileNotFoundError as error:
        return split, [Finding('annotation', str(error), name)]
    for clip, path in files.items():
        try:
            labels = READERS[task](path)
        except (ValueError, OSError) as error:
            findings.append(Finding('annotation', str(error), name, clip))
        else:
            (target,) = get_targets(task)
            table = number_lines(1, **{target.column: {clip: labels}})
            split.lines[clip] = table.frame_no, table
    return split, findings


def read_list(
    name: str, path: Path, filename_tmpl: str, task: str = 'expr'
) -> tuple[Split, list[Finding]]:
    """Read the challenge's list of frames; returns a finding if it is invalid."""
    split = Split(name, str(path), hidden=True, task=task)
    try:
        listed = read_frame_list(path, filename_tmpl, task=task).sort()
    except (ValueError, OSError) as error:
        return split, [Finding('annotation', str(error), name)]
    for clip, rows in zip(listed.clips, listed.rows_by_clip(), strict=True):
        split.lines[clip] = listed.frame_no[rows], None
    return split, []
