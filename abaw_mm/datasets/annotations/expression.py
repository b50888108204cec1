"""Annotation files of the expression track."""

import os
import re

import numpy as np

from abaw_mm.datasets.annotations.headers import (
    HEADER,
    HEADER_7,
    find_track,
    normalise_header,
    refuse_header,
)
from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.files import read_text
from abaw_mm.structures.tasks import UNLABELLED

# Colour of each expression in figures and drawn videos; further classes start again. Hues after
# Okabe and Ito, "Color Universal Design", 2008, with brightness spread so that they differ for
# colour-blind people, too.
PALETTE = (
    '#a3a9b5',
    '#cf3f1d',
    '#00916b',
    '#c86bb0',
    '#f2b50c',
    '#1d5fc0',
    '#62c6f2',
    '#7a5232',
)


def read_labels(path: str | os.PathLike) -> np.ndarray:
    """Read one official annotation file: the header, then one integer per frame.

    Args:
        path: File of one clip.

    Returns:
        ndarray: (L, ) int8, entry i is the label of frame i + 1, -1 where not annotated.

    Raises:
        ValueError: If the file is empty, has another header, or has a line that is not an integer
            in -1..7 (-1..6 with the seven-class header). The message names file and line.
    """
    text = read_text(path, 'an annotation file')
    header, _, body = text.partition('\n')
    body = body.rstrip()
    names = normalise_header(header)
    _check_header(path, names, is_empty=not text.strip(), has_labels=bool(body))
    num_classes = 8 if names == HEADER else 7
    labels = _parse_plain(body) if body.isascii() else None
    if labels is None:
        labels = _parse_line_by_line(path, body)
    bad = np.flatnonzero((labels < UNLABELLED) | (labels >= num_classes))
    if len(bad):
        raise InvalidValueError(
            f'{path}, line {bad[0] + 2}: got the label {labels[bad[0]]}, expected '
            f'-1..{num_classes - 1} (-1: not annotated, 0..{num_classes - 1}: {names}); set '
            'ann_file to the EXPR annotations, not to those of valence or action units'
        )
    return labels.astype(np.int8)


def _check_header(path: str | os.PathLike, names: str, is_empty: bool, has_labels: bool) -> None:
    """Raise ValueError if an annotation file has no official header or no label."""
    if is_empty:
        raise InvalidValueError(
            f'{path}: the annotation file is empty, expected the header {HEADER!r} and one label '
            'per frame; download it again'
        )
    if find_track(names) not in ('expr', None):
        refuse_header(path, names, 'expr', repr(HEADER))
    if names not in (HEADER, HEADER_7):
        raise InvalidValueError(
            f'{path}, line 1: got the header {shorten_text(names)}, expected {HEADER!r} '
            f'(or {HEADER_7!r} in the first edition); set ann_file to the folder of the '
            'expression (EXPR) annotations'
        )
    if not has_labels:
        raise InvalidValueError(
            f'{path}: got the header and no label, expected one label per frame after line 1; '
            'download it again'
        )


def _parse_plain(body: str) -> np.ndarray | None:
    """Parse lines that are all one digit or -1; None for others. 100 times faster than ``int``."""
    chars = np.frombuffer(f'{body}\n'.encode(), dtype=np.uint8)
    ends = np.flatnonzero(chars == ord('\n'))
    widths = np.diff(ends, prepend=-1) - 1
    digits = chars[ends - 1].astype(np.int16) - ord('0')
    if widths.min() < 1 or widths.max() > 2 or digits.min() < 0 or digits.max() > 9:
        return None
    negative = widths == 2
    if np.any(chars[ends[negative] - 2] != ord('-')):
        return None
    return np.where(negative, -digits, digits)


def _parse_line_by_line(path: str | os.PathLike, body: str) -> np.ndarray:
    """Parse lines with blanks or longer numbers; raise ValueError for the first non-integer."""
    labels = []
    for number, line in enumerate(body.split('\n'), start=2):
        if not re.fullmatch(r'\s*[+-]?[0-9]{1,9}\s*', line):
            raise InvalidValueError(
                f'{path}, line {number}: got {shorten_text(line)}, expected one integer in -1..7; '
                'the file is damaged or not an EXPR annotation, download it again'
            )
        labels.append(int(line))
    return np.array(labels)
