"""The challenge's lists of frames."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from abaw_mm.datasets.annotations.clip_names import check_known_clips
from abaw_mm.datasets.annotations.headers import LIST_HEADERS, find_track, normalise_header
from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.files import read_text
from abaw_mm.structures import FrameTable, check_clip_names

LIST_TEMPLATE = '{:05d}.jpg'  # of the frames in the list


def read_frame_list(
    path: str | os.PathLike,
    filename_tmpl: str = LIST_TEMPLATE,
    clips: Sequence[str] | None = None,
    other_tmpl: str = LIST_TEMPLATE,
    task: str = 'expr',
) -> FrameTable:
    """Read the challenge's list of frames, which names every frame that a submission must answer.

    The first line is a header, such as ``image_location,Neutral,...,Other``. The rows are
    ``<clip>/00001.jpg``, ``<clip>/00001.jpg,`` or ``<clip>/00001.jpg,0``, depending on the edition;
    the zero is a dummy, not a label. The list of the multi-task track may repeat a frame and have
    any header. Windows line ends, a byte order mark and blank lines at the end are accepted.

    Args:
        path: The list.
        filename_tmpl: File name of a frame.
        clips: Names of the clips to keep. Defaults to all.
        other_tmpl: File name of a frame that is accepted as well. Defaults to the challenge's, for
            crops that have other names than their list says.
        task (str): Track of the list. Defaults to ``'expr'``.

    Returns:
        FrameTable: Clips and rows in the order of the list; no columns.

    Raises:
        ValueError: If the list is empty, has another header, a row that is not a frame, a frame
            that is listed twice, or lacks one of ``clips``. The message names file and line.
    """
    lines = read_text(path, "the challenge's list of frames").split('\n')
    while lines and not lines[-1].strip():
        lines.pop()
    _check_list_header(path, lines, task)
    template, other = FilenameTemplate(filename_tmpl), FilenameTemplate(other_tmpl)
    wanted = None if clips is None else set(clips)
    number_of: dict[str, int] = {}  # 30 thousand names for a million rows
    id_of: dict[str, int] = {}
    clip_id, frame_no = [], []
    for at, line in enumerate(lines[1:], start=2):
        row = line.strip()
        location = row[:-2] if row.endswith(',0') else row.removesuffix(',')
        clip, _, name = location.rpartition('/')
        number = number_of.get(name)
        if number is None:
            with _name_line(path, at):
                number = number_of[name] = max(template.number(name), other.number(name))
        if clip and clip not in id_of:
            with _name_line(path, at):
                check_clip_names([clip])
        if number < 0 or not clip:
            raise InvalidValueError(
                f'{path}, line {at}: got {shorten_text(line)}, expected a row such as '
                f"'video65/{template.name(1)},' or 'video65/{template.name(1)},0'; the list is "
                'damaged, or set filename_tmpl'
            )
        if wanted is None or clip in wanted:
            clip_id.append(id_of.setdefault(clip, len(id_of)))
            frame_no.append(number)
    table = FrameTable(list(id_of), np.array(clip_id, np.int32), np.array(frame_no, np.int32))
    _check_listed_frames(path, table, template, wanted, may_repeat=task == 'mtl')
    return table


@contextmanager
def _name_line(path: str | os.PathLike, line: int) -> Iterator[None]:
    """Name file and line in the errors about a row."""
    try:
        yield
    except InvalidValueError as error:
        raise InvalidValueError(f'{path}, line {line}: {error}') from error


def _check_list_header(path: str | os.PathLike, lines: list[str], task: str) -> None:
    """Raise ValueError if a list of frames has no row or the header of another track."""
    expected = LIST_HEADERS[task]
    if len(lines) < 2:
        raise InvalidValueError(
            f'{path}: got a list without any frame, expected the header {expected!r} and one '
            'row per frame; download it again'
        )
    header = normalise_header(lines[0])
    if header == expected or (task == 'mtl' and find_track(header) is None):
        return
    found = find_track(header)
    advice = "set ann_file to the challenge's list of test frames, or to a folder of annotations"
    if found not in (None, task):
        advice = f'this list is of the {str(found).upper()} track: set task={found!r}, or {advice}'
    raise InvalidValueError(
        f'{path}, line 1: got the header {shorten_text(header)}, expected {expected!r}; {advice}'
    )


def _check_listed_frames(
    path: str | os.PathLike,
    table: FrameTable,
    template: FilenameTemplate,
    wanted: set[str] | None,
    may_repeat: bool,
) -> None:
    """Raise ValueError if a wanted clip is not listed, or a frame is listed twice."""
    check_known_clips(wanted or (), table.clips, path)
    twice = table.find_duplicates()
    if len(twice) and not may_repeat:
        clip = table.clips[table.clip_id[twice[0]]]
        raise InvalidValueError(
            f'{path}: the frame {clip}/{template.name(int(table.frame_no[twice[0]]))} is listed '
            f'twice ({len(twice)} such rows), expected every frame once; download the list again'
        )
