"""Names of the streams of features that a model gets."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from abaw_mm.errors import InvalidValueError

Value = TypeVar('Value')
NAME = re.compile(r'[A-Za-z0-9_-]+')  # names are also those of layers in a checkpoint


def name_streams(values: Mapping[str, Value] | Sequence[Value], owner: str) -> dict[str, Value]:
    """Give each stream its name: the key of a mapping, or its number in a sequence.

    Args:
        values (Mapping | Sequence): One value per stream, such as a folder or a width.
        owner (str): Setting that holds them, for the message.

    Raises:
        ValueError: If there is no stream, or a name has other characters than ASCII letters,
            digits, ``_`` and ``-``.

    >>> name_streams(dict(video=2304, audio=768), 'in_channels')
    {'video': 2304, 'audio': 768}
    >>> name_streams([2304, 768], 'in_channels')
    {'0': 2304, '1': 768}
    """
    if not isinstance(values, Mapping):
        values = {str(number): value for number, value in enumerate(values)}
    if not values or not all(isinstance(n, str) and NAME.fullmatch(n) for n in values):
        raise InvalidValueError(
            f'{owner}: got the streams {list(values)}, expected at least one, with names of ASCII '
            'letters, digits, _ and -'
        )
    return dict(values)
