"""Widths of a smoothing: a number of frames, or a time in seconds."""

import re

from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.postprocessing.smoothing import METHODS

SECONDS = re.compile(r'(\d{1,9}(?:\.\d{1,6})?)s', re.ASCII)
FRAMES = re.compile(r'\d{1,9}', re.ASCII)


class Seconds(float):
    """A width in seconds; a plain ``int`` is one in frames. It is rounded to microseconds.

    >>> Seconds(1.0), str(Seconds(0.25))
    (Seconds(1.0), '0.25s')
    """

    def __new__(cls, value: float) -> 'Seconds':
        return super().__new__(cls, round(float(value), 6))

    def __repr__(self) -> str:
        return f'Seconds({float(self)!r})'

    def __str__(self) -> str:
        return f'{float(self):.6f}'.rstrip('0').rstrip('.') + 's'

    __format__ = object.__format__  # f'{width}' is str(width)


Width = int | Seconds


def parse_width(text: str) -> Width:
    """Parse a width: ``25`` is in frames, ``1.0s`` in seconds.

    Raises:
        ValueError: If the text is something else.

    >>> parse_width('25'), parse_width('0.5s')
    (25, Seconds(0.5))
    """
    if FRAMES.fullmatch(text):
        return int(text)
    match = SECONDS.fullmatch(text)
    if not match:
        raise InvalidValueError(
            f'got the width {text!r}, expected frames, such as 25, or seconds, such as 1.0s'
        )
    return Seconds(float(match[1]))


def parse_smoothing(text: str) -> tuple[str, Width]:
    """Parse ``METHOD:WIDTH``, such as ``box:1.0s``, see :func:`smooth_scores`.

    Returns:
        tuple: Method and width, as :class:`Postprocess` accepts them.

    Raises:
        ValueError: If the text is something else.

    >>> parse_smoothing('box:1.0s'), parse_smoothing('median:25')
    (('box', Seconds(1.0)), ('median', 25))
    """
    method, _, width = text.partition(':')
    if method not in METHODS or not width:
        raise InvalidValueError(
            f'got the smoothing {text!r}, expected METHOD:WIDTH, such as box:1.0s or median:25, '
            f'with one of the methods {", ".join(METHODS)}'
        )
    return method, parse_width(width)
