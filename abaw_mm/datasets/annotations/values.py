"""Annotation files with several numbers per frame: valence and arousal, action units."""

import os
import re
import warnings

import numpy as np

from abaw_mm.datasets.annotations.headers import (
    HEADER_8_UNITS,
    HEADERS,
    normalise_header,
    refuse_header,
)
from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.files import read_text
from abaw_mm.structures.tasks import ACTION_UNIT, VALENCE_AROUSAL, Target

NUMBER = re.compile(r'\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*', re.I)


def read_valence_arousal(path: str | os.PathLike) -> np.ndarray:
    """Read a file of the VA track: the header ``valence,arousal``, then two numbers per frame.

    Args:
        path: File of one clip.

    Returns:
        ndarray: (L, 2) float32 in [-1, 1]; row i is that of frame i + 1. A row with -5 in either
        column is not annotated and has -5 in both.

    Raises:
        ValueError: If the file is empty, of another track, or has a line that is not two numbers in
            that range. The message names file and line.
    """
    values = _read(path, VALENCE_AROUSAL)
    hidden = np.any(values == VALENCE_AROUSAL.hidden, axis=1)
    _check(path, VALENCE_AROUSAL, values, hidden[:, None] | VALENCE_AROUSAL.is_in_range(values))
    values[hidden] = VALENCE_AROUSAL.hidden
    return values.astype(np.float32)


def read_action_units(path: str | os.PathLike) -> np.ndarray:
    """Read a file of the AU track: the header ``AU1,AU2,...,AU26``, then 12 numbers per frame.

    Args:
        path: File of one clip.

    Returns:
        ndarray: (L, 12) int8: 1 where the unit is present, 0 where it is not, -1 where it is not
        annotated; row i is that of frame i + 1.

    Raises:
        ValueError: If the file is empty, of another track, has the eight units of the first
            edition, or has a line that is not 12 of these numbers. The message names file and line.
    """
    values = _read(path, ACTION_UNIT)
    _check(path, ACTION_UNIT, values, np.isin(values, (ACTION_UNIT.hidden, *ACTION_UNIT.limits)))
    return values.astype(np.int8)


def _read(path: str | os.PathLike, target: Target) -> np.ndarray:
    """Read header and numbers, (L, K) float64."""
    task = target.column  # these tracks are named after their only target
    text = read_text(path, 'an annotation file')
    first, _, body = text.partition('\n')
    header, expected = normalise_header(first), HEADERS[task][0]
    body = body.rstrip()
    if not text.strip():
        raise InvalidValueError(
            f'{path}: the annotation file is empty, expected the header {expected!r} and one line '
            'per frame; download it again'
        )
    if header == HEADER_8_UNITS and task == 'au':
        raise InvalidValueError(
            f'{path}, line 1: got the eight action units of the first edition, expected the 12 of '
            f'the later ones, {expected!r}; use the annotations of a later edition'
        )
    if header != expected:
        refuse_header(path, header, task, repr(expected))
    if not body:
        raise InvalidValueError(
            f'{path}: got the header and no annotation, expected one line per frame after line 1; '
            'download it again'
        )
    values = parse_numbers(body, len(target.names))
    return _parse_line_by_line(path, body, target) if values is None else values


def parse_numbers(body: str, width: int) -> np.ndarray | None:
    """Parse lines of ``width`` numbers each, (L, width) float64; None if any line is not.

    >>> parse_numbers('1,2\\n3,4.5', 2).tolist(), parse_numbers('1\\n2,3,4', 2)
    ([[1.0, 2.0], [3.0, 4.5]], None)
    """
    chars = np.frombuffer(f'{body}\n'.encode(), np.uint8)
    ends = np.flatnonzero(chars == ord('\n'))
    commas = np.add.reduceat(chars == ord(','), np.append(0, ends[:-1] + 1), dtype=np.int64)
    if np.any(commas != width - 1):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # NumPy warns where a text does not continue with a number
        try:
            values = np.fromstring(body.replace('\n', ','), np.float64, sep=',')
        except (DeprecationWarning, ValueError):
            return None
    if len(values) != len(ends) * width or not np.isfinite(values).all():
        return None
    return values.reshape(-1, width)


def _parse_line_by_line(path: str | os.PathLike, body: str, target: Target) -> np.ndarray:
    """Parse lines one by one; raise ValueError for the first without a number for each name."""
    rows = []
    for number, line in enumerate(body.split('\n'), start=2):
        cells = line.split(',')
        if len(cells) != len(target.names) or not all(NUMBER.fullmatch(cell) for cell in cells):
            raise InvalidValueError(
                f'{path}, line {number}: got {shorten_text(line)}, expected {target.expected}; the '
                f'file is damaged or not of the {target.column.upper()} track, download it again'
            )
        rows.append([float(cell) for cell in cells])
    return np.array(rows)


def _check(path: str | os.PathLike, target: Target, values: np.ndarray, fits: np.ndarray) -> None:
    """Raise ValueError for the first line with a number out of range."""
    bad = np.flatnonzero(~fits.all(axis=1))
    if len(bad):
        row = ','.join(f'{value:g}' for value in values[bad[0]])
        raise InvalidValueError(
            f'{path}, line {bad[0] + 2}: got {shorten_text(row)}, expected {target.expected} '
            f'({len(bad)} such lines); the file is damaged or not of the {target.column.upper()} '
            'track, download it again'
        )
