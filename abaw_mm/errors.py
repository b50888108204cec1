"""Errors that a user can fix, and helpers for their messages."""

from collections.abc import Sequence

TRACEBACK = 'ABAW_MM_TRACEBACK'  # environment variable: commands show every traceback
MAX_LISTED = 5  # names that a message lists before it counts the rest
MAX_QUOTED = 120  # characters that a message quotes of a file


class UserError(Exception):
    """Base class of the errors that a user can fix.

    The message says what failed, what was found, what was expected and how to fix it. Commands
    print it as one line and exit with status 1. Any other exception is a bug and shows its
    traceback. Raise a subclass, which also derives from the matching built-in exception.
    """


class InvalidValueError(UserError, ValueError):
    """A setting, file or table contains an invalid value."""


class DamagedVideoError(InvalidValueError):
    """A video is damaged or truncated. All frames before the damage have been read.

    Attributes:
        num_frames (int): Number of frames of the video before the damage.
        time (float): Presentation time of the last of them, in seconds.
    """

    def __init__(self, path: object, num_frames: int, time: float, reason: str) -> None:
        super().__init__(
            f'{path}: got a damaged or truncated video that can be read for {num_frames} frames, '
            f'up to {time:.3f} s ({reason}); get the file again, or re-encode it to skip the damage'
        )
        self.num_frames = num_frames
        self.time = time


class InvalidTypeError(UserError, TypeError):
    """A setting has the wrong type."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder does not exist."""


class FileAccessError(UserError, OSError):
    """A file cannot be read or written."""


class MissingPackageError(UserError, ImportError):
    """A package is missing or has an unsupported version."""


class TrainingFailedError(UserError, RuntimeError):
    """A training diverged or collapsed."""


class LostProcessError(UserError, RuntimeError):
    """Another process of a run ended, or cannot be reached.

    ``tools/launch.py`` prefers the message of the process that ended.
    """


def shorten(names: Sequence) -> str:
    """List the first names for a message and count the rest.

    >>> shorten(['a', 'b']), shorten(range(7))
    ("'a', 'b'", '0, 1, 2, 3, 4 and 2 more')
    """
    return join_first([*map(shorten_text, names[:MAX_LISTED])], len(names))


def join_first(texts: Sequence[str], number: int | None = None) -> str:
    """Join the first texts for a message and count the rest.

    Args:
        texts (Sequence[str]): Texts, of which the first ``MAX_LISTED`` are shown.
        number (int, optional): Number of all texts. Defaults to those given.

    >>> join_first(['a (1)', 'b']), join_first('abcdefg')
    ('a (1), b', 'a, b, c, d, e and 2 more')
    """
    more = (len(texts) if number is None else number) - MAX_LISTED
    return ', '.join(texts[:MAX_LISTED]) + f' and {more} more' * (more > 0)


def shorten_text(value: object, limit: int = MAX_QUOTED) -> str:
    """Quote the start of what a file contains for a message, in one line.

    >>> shorten_text('a\\nb'), shorten_text('0' * 9000, limit=8)
    ("'a\\\\nb'", "'00000000'... (9000 characters)")
    """
    if isinstance(value, (str, bytes)) and len(value) > limit:
        return f'{value[:limit]!r}... ({len(value)} characters)'
    return repr(value)
