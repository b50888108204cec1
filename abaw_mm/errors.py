"""Words that error messages share."""

from collections.abc import Sequence

MAX_NAMED = 5  # names that a message lists before it only counts


def named(names: Sequence) -> str:
    """A few names for a message, and how many there are beyond them.

    >>> named(['a', 'b']), named(range(7))
    ("'a', 'b'", '0, 1, 2, 3, 4 and 2 more')
    """
    text = ', '.join(repr(name) for name in names[:MAX_NAMED])
    return text if len(names) <= MAX_NAMED else f'{text} and {len(names) - MAX_NAMED} more'
