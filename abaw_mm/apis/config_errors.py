"""Turn what mmengine raises for a mistake in a config into a user error."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from abaw_mm.errors import InvalidValueError, UserError

# Unknown `type` and override of a list (KeyError), unknown or missing argument (TypeError), checks
# of constructors (AssertionError, ValueError), missing data (FileNotFoundError), custom_imports
# (ImportError).
CONFIG_ERRORS = (
    AssertionError,
    FileNotFoundError,
    ImportError,
    KeyError,
    SyntaxError,
    TypeError,
    ValueError,
)


@contextmanager
def convert_config_errors(config: str | None) -> Iterator[None]:
    """Raise InvalidValueError for errors that reading or building a config raises.

    Our own user errors pass through. So do exceptions that a wrong setting does not explain.

    Args:
        config (str, optional): Path of the config, for the message.

    >>> with convert_config_errors('my.py'):
    ...     raise KeyError('ResNot is not in the model registry')
    Traceback (most recent call last):
        ...
    abaw_mm.errors.InvalidValueError: my.py: ResNot is not in the model registry
    """
    try:
        yield
    except UserError:
        raise
    except CONFIG_ERRORS as error:
        raise InvalidValueError(f'{config or "config"}: {_describe(error)}') from error


def _describe(error: Exception) -> str:
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # str() would add quotes
    if str(error):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]  # a bare assert: show its source
    return f'{type(error).__name__} in {frame.name}: {frame.line}'
