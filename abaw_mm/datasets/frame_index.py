"""Join annotations and crops into the index of a dataset's frames."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from abaw_mm.datasets.annotations import (
    FOLDERS,
    is_multi_task_file,
    number_lines,
    read_annotation_folder,
    read_clip_names,
    read_frame_list,
    read_multi_task,
)
from abaw_mm.datasets.annotations.clip_names import check_known_clips
from abaw_mm.datasets.pseudo_labels import count_pseudo_labels
from abaw_mm.errors import InvalidValueError, MissingFileError, shorten
from abaw_mm.structures import FrameTable, chain_tables
from abaw_mm.structures.tasks import EXPRESSION, UNLABELLED, Target, get_targets

ListCrops = Callable[[Sequence[str]], FrameTable]


@dataclass(eq=False)
class FrameIndex(FrameTable):
    """The frames of a dataset.

    The columns are the targets of a track, such as ``label`` (int8, -1 where hidden), and
    ``source`` (int8), the location of the crop (see ``crops.crop_folder``) or -1 without a crop.

    Attributes:
        counts (dict): What was read and what was left out, for the summary. Holds only JSON types.
    """

    counts: dict = field(default_factory=dict)


def join_labels_and_crops(
    labels: FrameTable,
    crops: FrameTable,
    is_labelled: np.ndarray | None = None,
    has_every_frame: bool = True,
) -> FrameIndex:
    """Keep the frames that have both a label and a crop.

    The official crops count from 1. With any other start, every label would be assigned to a
    neighbour's face, so crops that contradict the numbers of the labels are rejected.

    Args:
        labels (FrameTable): One row per annotation line, as ``number_lines`` returns it; any
            columns.
        crops (FrameTable): What ``list_crops`` returns for the same clips.
        is_labelled (ndarray, optional): (L, ) bool, which lines are annotated. Defaults to those
            whose ``label`` is not -1.
        has_every_frame (bool): Whether a clip has a line for each frame, so that numbers beyond
            the lines contradict them. Defaults to True.

    Returns:
        FrameIndex: Sorted, with the columns of ``labels`` and ``source``.

    Raises:
        ValueError: If the numbers of the crops show that they start at another number.
        FileNotFoundError: If no clip has any crop.
    """
    if is_labelled is None:
        is_labelled = labels['label'] != UNLABELLED
    counts = _count(labels, crops, unlabelled=int(np.count_nonzero(~is_labelled)))
    if has_every_frame:
        _check_start_index(labels, crops, counts['overhang'])
    else:
        counts['overhang'] = []
    crop_rows = crops.find(labels)
    kept = is_labelled & (crop_rows >= 0)
    counts['missing'] = int(np.count_nonzero(is_labelled & (crop_rows < 0)))
    frames = labels.take(kept).with_columns(source=crops['source'][crop_rows[kept]])
    return FrameIndex(frames.clips, frames.clip_id, frames.frame_no, frames.columns, counts)


def find_listed_crops(
    listed: FrameTable, crops: FrameTable, targets: Sequence[Target] = (EXPRESSION,)
) -> FrameIndex:
    """Find the crops of listed frames.

    Args:
        listed (FrameTable): What ``read_frame_list`` returns.
        crops (FrameTable): What ``list_crops`` returns for the same clips.
        targets (Sequence[Target]): What is hidden. Defaults to the expression.

    Returns:
        FrameIndex: All listed frames in their order. Targets are hidden, ``source`` is -1 for
        frames without a crop.

    Raises:
        FileNotFoundError: If no clip has any crop.
    """
    counts = _count(listed, crops, unlabelled=0) | {'overhang': []}
    source = np.full(len(listed), -1, np.int8)
    crop_rows = crops.find(listed)
    source[crop_rows >= 0] = crops['source'][crop_rows[crop_rows >= 0]]
    counts['missing'] = int(np.count_nonzero(source < 0))
    columns = hide_targets(targets, len(listed)) | dict(source=source)
    return FrameIndex(listed.clips, listed.clip_id, listed.frame_no, columns, counts)


def hide_targets(targets: Sequence[Target], number: int) -> dict[str, np.ndarray]:
    """Return the columns of frames that are not annotated.

    >>> hide_targets((EXPRESSION,), 2)
    {'label': array([-1, -1], dtype=int8)}
    """
    return {
        target.column: np.full((number, *target.shape), target.hidden, target.dtype)
        for target in targets
    }


def merge_repeated_frames(frames: FrameIndex, targets: Sequence[Target]) -> FrameIndex:
    """Keep one row of frames that the multi-task track repeats.

    A part that is not annotated in the first row of a frame is taken from a later one.

    Args:
        frames (FrameIndex): Sorted, with repeated frames.
        targets (Sequence[Target]): What is annotated.
    """
    key = frames.key
    group = np.cumsum(np.append(True, key[1:] != key[:-1])[: len(key)]) - 1
    first = np.unique(group, return_index=True)[1]
    merged = frames.take(first)
    for target in targets:
        values = frames[target.column]
        known = np.flatnonzero(target.is_annotated(values))
        groups, at = np.unique(group[known], return_index=True)
        column = merged[target.column].copy()
        column[groups] = values[known[at]]
        merged = merged.with_columns(**{target.column: column})
    return merged


def _count(lines: FrameTable, crops: FrameTable, unlabelled: int) -> dict:
    """Count lines and crops; raise FileNotFoundError if there is no crop at all."""
    number_of_crops = dict(zip(crops.clips, crops.count_by_clip().tolist(), strict=True))
    no_folder = [clip for clip in lines.clips if not number_of_crops.get(clip)]
    if len(no_folder) == len(lines.clips):
        raise MissingFileError(
            f'got no crop for any of {len(lines.clips)} clips ({shorten(lines.clips[:3])}), '
            'expected <image root>/<clip>/00001.jpg; set data_prefix=dict(img_path=...) to the '
            'folder of the crops, and filename_tmpl if their names differ'
        )
    overhang = []
    line_rows = dict(zip(lines.clips, lines.rows_by_clip(), strict=True))
    for clip, rows in zip(crops.clips, crops.rows_by_clip(), strict=True):
        numbers, line_numbers = crops.frame_no[rows], lines.frame_no[line_rows[clip]]
        if len(numbers) and len(line_numbers) and numbers[-1] > line_numbers.max():
            overhang.append([clip, int(numbers[-1]), len(line_numbers)])
    return dict(
        clips=len(lines.clips),
        lines=len(lines),
        unlabelled=unlabelled,
        missing=0,
        no_folder=no_folder,
        overhang=overhang,
    )


def _check_start_index(labels: FrameTable, crops: FrameTable, overhang: list) -> None:
    """Raise ValueError if the numbers of crops contradict those of the labels."""
    start_index = int(labels.frame_no.min())
    first = int(crops.frame_no.min())
    if first < start_index:
        clip = crops.clips[crops.clip_id[crops.frame_no.argmin()]]
        raise InvalidValueError(
            f'start_index={start_index}: got crops numbered from {first} (clip {clip!r}), '
            f'expected them to start at {start_index}; labels would be shifted by one frame: set '
            f'start_index={first}, or remove the crop if it is the only one'
        )
    if overhang and start_index == 0 and first > 0:
        clip, last, lines = overhang[0]
        raise InvalidValueError(
            f'start_index=0: got crops of {clip} numbered up to {last} for {lines} labels, '
            f'expected at most {lines - 1}; these crops count from 1 like the official ones, '
            'labels would be shifted by one frame: set start_index=1'
        )


class FrameReader:
    """Read the frames of a dataset: annotations or a list of frames, joined with crops.

    Checks the arguments that ``AffWild2Dataset`` and ``ClipFeatureDataset`` share.

    Args:
        ann_file (str | Sequence[str]): One or several folders of official annotation files, or the
            challenge's list of frames.
        data_root (str): Folder that ``ann_file`` and ``clips`` are relative to.
        start_index (int): Number of a clip's first frame.
        filename_tmpl (str): File name of a frame.
        clips (Sequence[str] | str, optional): Names of the clips to keep, or a text file with one
            name per line. Defaults to all.
        owner (str): Class name of the dataset, for messages.
        task (str): Track: ``'expr'``, ``'va'``, ``'au'`` or ``'mtl'``. Defaults to ``'expr'``.

    Attributes:
        ann_file (str | list[str]): Joined with ``data_root``, like ``clips``.
        targets (tuple[Target]): What the track annotates.

    Raises:
        ValueError: If ``start_index`` is not a number from 0, or ``ann_file`` is empty.
    """

    def __init__(
        self,
        ann_file: str | Sequence[str],
        *,
        data_root: str,
        start_index: int,
        filename_tmpl: str,
        clips: Sequence[str] | str | None,
        owner: str,
        task: str = 'expr',
    ) -> None:
        if not isinstance(start_index, int) or start_index < 0:
            raise InvalidValueError(
                f"{owner}: start_index={start_index!r}, expected the number of a clip's first "
                'crop, 1 for the official ones; set start_index'
            )
        if not ann_file:
            raise InvalidValueError(
                f'{owner}: ann_file={ann_file!r}, expected one or several folders of <clip>.txt; '
                'set ann_file'
            )
        self.ann_file = join_paths(data_root, ann_file)
        self.start_index = start_index
        self.filename_tmpl = filename_tmpl
        self.clips = join_paths(data_root, clips) if isinstance(clips, str) else clips
        self.owner = owner
        self.task, self.targets = task, get_targets(task)

    @property
    def ann_files(self) -> list[str]:
        """Folders of annotations, or the one list of frames."""
        return [self.ann_file] if isinstance(self.ann_file, str) else self.ann_file

    @property
    def is_labelled(self) -> bool:
        """Whether ``ann_file`` holds annotations, not a list of frames."""
        if self.task == 'mtl':
            return not os.path.isfile(self.ann_files[0]) or is_multi_task_file(self.ann_files[0])
        return not (isinstance(self.ann_file, str) and os.path.isfile(self.ann_file))

    def read_clip_names(self) -> list[str] | None:
        """Return the names of the clips to keep, None for all.

        Raises:
            FileNotFoundError: If ``ann_file`` or the file of ``clips`` does not exist.
            ValueError: If ``clips`` names no clip.
        """
        names = read_clip_names(self.clips, self.owner)
        if self.task == 'mtl':
            _check_multi_task_files(self.ann_files, self.owner)
            return names
        for path in self.ann_files:
            if self.is_labelled and not os.path.isdir(path):
                if os.path.isfile(path):
                    raise InvalidValueError(
                        f'{self.owner}: ann_file: got the file {path!r} among folders, expected '
                        "folders of <clip>.txt; of the challenge's list of frames give the path "
                        'alone, not in a list'
                    )
                raise MissingFileError(
                    f'{self.owner}: no folder or file {path!r}, expected a folder of <clip>.txt '
                    "(or several), or the challenge's list of frames; set data_root, and ann_file "
                    'relative to it'
                )
        return names

    def read_annotations(self) -> FrameTable:
        """Read all annotations, annotated or not, one row per line.

        Returns:
            FrameTable: Grouped by clip, with a column per target.
        """
        clips = self.read_clip_names()
        if self.task == 'mtl':
            files = [read_multi_task(path, self.filename_tmpl) for path in self.ann_files]
            _check_disjoint(files, self.ann_files)
            table = chain_tables(files)
            if clips is None:
                return table
            check_known_clips(clips, table.clips, self.ann_file)
            return table.select_clips(sorted(set(clips)))
        (target,) = self.targets
        lines = read_annotation_folder(self.ann_file, clips, self.task)
        return number_lines(self.start_index, **{target.column: lines})

    def read_list(self) -> FrameTable:
        """Read the challenge's list of frames."""
        clips = self.read_clip_names()
        if len(self.ann_files) > 1:
            raise InvalidValueError(
                f'{self.owner}: ann_file: got {len(self.ann_files)} lists of frames, expected one; '
                'predict each by itself'
            )
        return read_frame_list(self.ann_files[0], self.filename_tmpl, clips, task=self.task)

    def read(self, list_crops: ListCrops) -> FrameIndex:
        """Read the annotations or the list, and find the crops.

        Args:
            list_crops (Callable): Returns the crops of clips, as a table with the column
                ``source``.

        Returns:
            FrameIndex: Of annotations, the frames with a label and a crop, sorted. Of a list, all
            frames in its order.

        Raises:
            FileNotFoundError: If a path does not exist, or no clip has any crop.
            ValueError: If a file is invalid, or no frame has what is needed.
        """
        self.read_clip_names()
        if not self.is_labelled:
            listed = self.read_list()
            frames = find_listed_crops(listed, list_crops(listed.clips), self.targets)
            if not np.any(frames['source'] >= 0):
                raise InvalidValueError(
                    f'{self.owner}: none of the {len(frames)} frames of {self.ann_file} has a '
                    'crop; check the folder of the crops or features, and filename_tmpl'
                )
            return frames
        labels = self.read_annotations()
        masks = (target.is_annotated(labels[target.column]) for target in self.targets)
        frames = join_labels_and_crops(
            labels,
            list_crops(labels.clips),
            reduce(np.logical_or, masks),
            has_every_frame=self.task != 'mtl',
        )
        pseudo = count_pseudo_labels(self.ann_files, labels.clips) if self.task == 'expr' else 0
        if pseudo:
            frames.counts['pseudo'] = pseudo
        if not len(frames):
            raise InvalidValueError(
                f'{self.owner}: no frame of {", ".join(self.ann_files)} has both a label and a '
                f'crop ({frames.counts["lines"]} lines, {frames.counts["unlabelled"]} of them '
                '-1), expected at least one; check that the crops belong to these annotations'
            )
        return frames


def _check_multi_task_files(paths: Sequence[str], owner: str) -> None:
    """Raise FileNotFoundError if a file of annotations or a list does not exist."""
    for path in paths:
        if not os.path.isfile(path):
            raise MissingFileError(
                f"{owner}: task='mtl': no file {path!r}, expected annotations such as "
                f'annotations/{FOLDERS["mtl"]}/training_set_annotations.txt (or several), or the '
                "challenge's list of frames; set data_root, and ann_file relative to it"
            )


def _check_disjoint(files: Sequence[FrameTable], paths: Sequence[str]) -> None:
    """Raise if a clip is in several files, whose rows would be counted twice."""
    counts = Counter(clip for file in files for clip in file.clips)
    twice = sorted(clip for clip, count in counts.items() if count > 1)
    if twice:
        raise InvalidValueError(
            f'ann_file: got the clips {shorten(twice)} in several files of {", ".join(paths)}, '
            'expected each in one; remove a file'
        )


def join_paths(data_root: str, path: str | Sequence[str]) -> str | list[str]:
    """Join one or several paths with ``data_root``; expands ``~``.

    >>> join_paths('data', ['crops', '/more'])
    ['data/crops', '/more']
    """
    if not isinstance(path, str):
        return [os.path.join(os.path.expanduser(data_root), os.path.expanduser(p)) for p in path]
    return os.path.join(os.path.expanduser(data_root), os.path.expanduser(path))
