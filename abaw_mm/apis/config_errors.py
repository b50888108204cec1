"""Turn what mmengine raises for a mistake in a config into a user error."""

import difflib
import inspect
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.runner

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
UNKNOWN_ARGUMENT = re.compile(r"(?:(\w+)\.)?\w+\(\) got an unexpected keyword argument '(\w+)'")
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
        unknown = UNKNOWN_ARGUMENT.search(str(error))
        return str(error) + (_advise(error, *unknown.groups()) if unknown else '')
    frame = traceback.extract_tb(error.__traceback__)[-1]  # a bare assert: show its source
    return f'{type(error).__name__} in {frame.name}: {frame.line}'


def _advise(error: Exception, owner: str | None, key: str) -> str:
    """Name the argument that an unknown one may stand for, or the way to drop an inherited one."""
    built = [
        getattr(mmengine.runner, owner or '', None),  # a loop
        *(frame.f_locals.get('obj_cls') for frame, _ in traceback.walk_tb(error.__traceback__)),
    ]
    names = {
        name
        for cls in filter(inspect.isclass, built)
        for one in inspect.getmro(cls)
        if '__init__' in vars(one)
        for name in inspect.signature(vars(one)['__init__']).parameters
    }
    for closest in difflib.get_close_matches(key, names - {'self', 'args', 'kwargs'}, 1, 0.75):
        return f'; did you mean {closest}?'
    # The key may come from a base config, as SGD's momentum for AdamW does.
    return '; if the key is inherited, put _delete_=True into this dict'
