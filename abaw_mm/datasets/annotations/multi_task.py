"""Annotation files of the multi-task track (s-Aff-Wild2): one row per image."""

import os
from collections.abc import Sequence

import numpy as np

from abaw_mm.datasets.annotations.clip_names import check_known_clips
from abaw_mm.datasets.annotations.headers import find_track, normalise_header, refuse_header
from abaw_mm.datasets.annotations.values import parse_numbers
from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.files import read_text
from abaw_mm.structures import FrameTable, check_clip_names
from abaw_mm.structures.tasks import (
    ACTION_UNIT,
    ACTION_UNITS,
    EXPRESSION,
    EXPRESSIONS,
    TASKS,
    VALENCE_AROUSAL,
)

WIDTH = 3 + len(ACTION_UNITS)  # valence, arousal, expression, action units
EXPECTED = f'<clip>/00001.jpg, then {", ".join(target.expected for target in TASKS["mtl"])}'


def read_multi_task(
    path: str | os.PathLike,
    filename_tmpl: str = '{:05d}.jpg',
    clips: Sequence[str] | None = None,
) -> FrameTable:
    """Read ``training_set_annotations.txt`` or ``validation_set_annotations.txt``.

    The first line is a header. Each further line is ``<clip>/00001.jpg``, valence, arousal, the
    expression and 12 action units. A part that is not annotated has -5, -1 or -1. An image may be
    repeated; every line is a row.

    Args:
        path: The file.
        filename_tmpl: File name of a frame.
        clips: Names of the clips to keep. Defaults to all.

    Returns:
        FrameTable: One row per line, grouped by clip, with the columns ``va`` (F, 2) float32,
        ``label`` (F,) int8 and ``au`` (F, 12) int8.

    Raises:
        ValueError: If the file has no line, is of another track, has a line of another form, or
            lacks one of ``clips``. The message names file and line.
    """
    lines = read_text(path, 'annotations of the MTL track').rstrip().split('\n')
    _check_header(path, lines)
    locations, _, bodies = zip(*(line.partition(',') for line in lines[1:]), strict=True)
    values = parse_numbers('\n'.join(bodies), WIDTH)
    if values is None:
        values = _parse_line_by_line(path, lines, bodies)
    columns = _check_values(path, lines, values)
    template = FilenameTemplate(filename_tmpl)
    names, numbers = [], np.empty(len(locations), np.int32)
    known: dict[str, int] = {}
    for at, location in enumerate(locations):
        clip, _, name = location.strip().rpartition('/')
        if name not in known:
            known[name] = template.number(name)
        if known[name] < 0 or not clip:
            raise InvalidValueError(
                f'{path}, line {at + 2}: got the image {shorten_text(location)}, expected one such '
                f'as {"video65/" + template.name(1)!r}; the file is damaged, or set filename_tmpl'
            )
        names.append(clip)
        numbers[at] = known[name]
    check_clip_names(set(names), path)
    table = FrameTable.from_rows(names, numbers, **columns)
    if clips is not None:
        check_known_clips(clips, table.clips, path)
        table = table.select_clips(sorted(set(clips)))
    return table.take(np.argsort(table.clip_id, kind='stable'))


def is_multi_task_file(path: str | os.PathLike) -> bool:
    """Return whether a text file has annotations of the MTL track, not only names of frames."""
    with open(path, encoding='utf-8', errors='replace') as file:
        file.readline()
        return file.readline().rstrip().count(',') >= WIDTH


def _check_header(path: str | os.PathLike, lines: list[str]) -> None:
    """Raise ValueError if a file has no row, no header, or is of another track."""
    header = normalise_header(lines[0])
    if find_track(header) not in (None, 'mtl'):
        refuse_header(path, header, 'mtl', 'that of training_set_annotations.txt')
    if len(lines) < 2:
        raise InvalidValueError(
            f'{path}: got {len(lines)} line{"s" * (len(lines) > 1)} without any annotation, '
            'expected a header and one line per image; download it again'
        )
    if '.' in header.partition(',')[0]:
        raise InvalidValueError(
            f'{path}, line 1: got the annotation {shorten_text(header)}, expected a header; every '
            'reader of this file skips its first line: download it again'
        )


def _parse_line_by_line(
    path: str | os.PathLike, lines: Sequence[str], bodies: Sequence[str]
) -> np.ndarray:
    """Raise ValueError for the first line of another form; accept blanks and a comma at the end."""
    rows = []
    for number, body in enumerate(bodies, start=2):
        values = parse_numbers(body.strip().removesuffix(','), WIDTH)
        if values is None:
            raise InvalidValueError(
                f'{path}, line {number}: got {shorten_text(lines[number - 1])}, expected '
                f'{EXPECTED}; the file is damaged or not of the MTL track, download it again'
            )
        rows.append(values[0])
    return np.array(rows)


def _check_values(
    path: str | os.PathLike, lines: Sequence[str], values: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the columns; raise ValueError for the first line with a number out of range."""
    va, label, au = values[:, :2], values[:, 2], values[:, 3:]
    hidden = np.any(va == VALENCE_AROUSAL.hidden, axis=1)
    fits = (
        (hidden | VALENCE_AROUSAL.is_in_range(va).all(axis=1))
        & np.isin(label, np.arange(-1, len(EXPRESSIONS)))
        & np.isin(au, (ACTION_UNIT.hidden, *ACTION_UNIT.limits)).all(axis=1)
    )
    bad = np.flatnonzero(~fits)
    if len(bad):
        raise InvalidValueError(
            f'{path}, line {bad[0] + 2}: got {shorten_text(lines[bad[0] + 1])}, expected '
            f'{EXPECTED} ({len(bad)} such lines); the file is damaged, download it again'
        )
    va = np.where(hidden[:, None], VALENCE_AROUSAL.hidden, va)
    return {
        VALENCE_AROUSAL.column: va.astype(VALENCE_AROUSAL.dtype),
        EXPRESSION.column: label.astype(EXPRESSION.dtype),
        ACTION_UNIT.column: au.astype(ACTION_UNIT.dtype),
    }
