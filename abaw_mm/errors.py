"""Errors that a user can fix, and the words that their messages share."""

from collections.abc import Sequence

TRACEBACK = 'ABAW_MM_TRACEBACK'  # environment variable: commands show every traceback
MAX_LISTED = 5  # names that a message lists before it only counts the rest


class UserError(Exception):
    """An error that the user can fix.

    Its message says what failed, what was found, what was expected and how to fix it. Commands
    print it as one line and exit with status 1; any other exception is a bug and shows its
    traceback. Raise one of the subclasses, which also have Python's usual type as a base.
    """


class InvalidValueError(UserError, ValueError):
    """A setting, a file or a table holds something that it must not hold."""


class InvalidTypeError(UserError, TypeError):
    """A setting has the wrong type."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder does not exist."""


class FileAccessError(UserError, OSError):
    """A file cannot be read or written."""


class MissingPackageError(UserError, ImportError):
    """A package is not installed or has an unsupported version."""


class TrainingFailedError(UserError, RuntimeError):
    """A training diverged or collapsed."""


def shorten(names: Sequence) -> str:
    """List a few names for a message, and count the rest.

    >>> shorten(['a', 'b']), shorten(range(7))
    ("'a', 'b'", '0, 1, 2, 3, 4 and 2 more')
    """
    text = ', '.join(repr(name) for name in names[:MAX_LISTED])
    return text if len(names) <= MAX_LISTED else f'{text} and {len(names) - MAX_LISTED} more'
