"""Turn what mmengine raises for a mistake in a config into a user error."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
# What freezing more stages than there are raises in mmpretrain's backbones.
FREEZING_ERRORS = (AttributeError, IndexError)


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
    except FREEZING_ERRORS as error:
        backbone = _find_frozen_backbone(error)
        if backbone is None:
            raise
        stages = getattr(backbone, 'num_stages', getattr(backbone, 'num_layers', 'its last stage'))
        raise InvalidValueError(
            f'{config or "config"}: frozen_stages: got {backbone.frozen_stages} for '
            f'{type(backbone).__name__}, expected -1 (none) to {stages}; set '
            'model.backbone.frozen_stages'
        ) from error
    except CONFIG_ERRORS as error:
        raise InvalidValueError(f'{config or "config"}: {_describe(error)}') from error


def _find_frozen_backbone(error: BaseException) -> Any:
    """Return the backbone whose method ``_freeze_stages`` raised an error, None for another."""
    while error.__cause__ is not None:
        error = error.__cause__
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == '_freeze_stages':
            return frame.f_locals.get('self')
    return None


def _describe(error: Exception) -> str:
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # str() would add quotes
    if str(error):
        # The key may come from a base config, as SGD's momentum for AdamW does.
        inherited = 'unexpected keyword argument' in str(error)
        advice = '; if the key is inherited, put _delete_=True into this dict' * inherited
        return str(error) + advice
    frame = traceback.extract_tb(error.__traceback__)[-1]  # a bare assert: show its source
    return f'{type(error).__name__} in {frame.name}: {frame.line}'
