"""Check the arguments of constructors: their types by annotation, their ranges by a decorator."""

import difflib
import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abaw_mm.errors import InvalidTypeError, InvalidValueError

MAX_SEED = 2**32 - 1  # of NumPy
MAX_SHOWN = 60  # characters of a wrong value that a message shows
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Limit:
    """A range of numbers, or a set of choices.

    Args:
        text (str): What is expected, for the message.
        accepts (Callable): Whether a value is within the limit.
    """

    text: str
    accepts: Callable[[Any], bool]


def _show(number: float) -> str:
    return str(number) if isinstance(number, int) else f'{number:.4g}'


def between(low: float, high: float, *, above: bool = False, below: bool = False) -> Limit:
    """Limit numbers to ``low`` to ``high``, without the ends if ``above`` or ``below`` is set.

    >>> between(0, 1).accepts(1), between(0, 1, below=True).accepts(1)
    (True, False)
    """
    if not above and not below:
        text = f'{_show(low)} to {_show(high)}'
    else:
        text = f'{"above" if above else "at least"} {_show(low)} and '
        text += f'{"below" if below else "at most"} {_show(high)}'
    return Limit(
        text,
        lambda x: (x > low if above else x >= low) and (x < high if below else x <= high),
    )


def at_least(low: float) -> Limit:
    """Limit numbers to ``low`` or more."""
    return Limit(f'at least {_show(low)}', lambda x: x >= low)


def above(low: float) -> Limit:
    """Limit numbers to more than ``low``."""
    return Limit(f'above {_show(low)}', lambda x: x > low)


def one_of(*choices: Any) -> Limit:
    """Limit a value to some choices."""
    return Limit(' or '.join(map(repr, choices)), lambda x: x in choices)


def check_arguments(where: str, **limits: Limit) -> Callable:
    """Decorate a constructor so that it checks its arguments before it runs.

    Types are those of the annotations: ``int`` and ``float`` exclude bool, NaN and infinity;
    ``Sequence`` and ``tuple`` accept a list or a tuple of matching elements. Annotations of other
    classes are not checked. A limit applies to numbers and strings, and to each element of a
    sequence; None and dicts have no limit.

    Args:
        where (str): Config key of the object, for the message, such as ``'model.neck'``; empty if
            configs do not build it.
        **limits (Limit): Allowed values of arguments.

    Raises:
        InvalidTypeError: If an argument is unknown, missing or has the wrong type.
        InvalidValueError: If a value is outside its limit.

    >>> class Pool:
    ...     @check_arguments('model.neck', size=at_least(1))
    ...     def __init__(self, size: int = 2): ...
    >>> Pool(size=0)
    Traceback (most recent call last):
        ...
    abaw_mm.errors.InvalidValueError: Pool: got size=0, expected at least 1; set model.neck.size
    >>> Pool(size=True)
    Traceback (most recent call last):
        ...
    abaw_mm.errors.InvalidTypeError: Pool: got size=True, expected int; set model.neck.size
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(self: Any, *args: Any, **kwargs: Any) -> None:
            owner = type(self).__name__
            hints = _collect_hints(type(self))  # type: ignore[arg-type]
            try:
                _check_names(kwargs, hints)
                given = dict(signature.bind(self, *args, **kwargs).arguments)
            except TypeError as error:
                raise InvalidTypeError(f'{owner}: {error}; see {where or owner}') from None
            for name, value in (given | kwargs).items():
                if name in hints:
                    _check_argument(owner, where, name, value, hints[name], limits.get(name))
            function(self, *args, **kwargs)

        return call

    return decorate


@functools.cache
def _collect_hints(cls: type) -> dict[str, Any]:
    """Return the arguments of a class and their annotations, with those passed on to its bases."""
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        constructor = vars(base).get('__init__')
        if constructor is None:
            continue
        parameters = inspect.signature(constructor).parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        known = typing.get_type_hints(constructor)
        named = [n for n, p in parameters.items() if p.kind in NAMED and n != 'self']
        hints = {name: known.get(name, Any) for name in named} | hints
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return hints


def _check_names(given: Mapping, known: Mapping) -> None:
    """Raise TypeError for an argument that no constructor has."""
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f'did you mean {close[0]}?' if close else f'expected {", ".join(known)}'
            raise TypeError(f'unknown argument {name!r}, {hint}')


def _check_argument(
    owner: str, where: str, name: str, value: Any, hint: Any, limit: Limit | None
) -> None:
    shown = repr(value)
    if len(shown) > MAX_SHOWN:
        shown = f'{shown[:MAX_SHOWN]}...'
    got, fix = f'{owner}: got {name}={shown}', f'set {where}{"." if where else ""}{name}'
    if not _has_type(value, hint):
        raise InvalidTypeError(f'{got}, expected {_describe_type(hint)}; {fix}')
    if limit is not None and not _is_within(value, limit):
        each = 'each ' if isinstance(value, (list, tuple)) else ''
        raise InvalidValueError(f'{got}, expected {each}{limit.text}; {fix}')


def _is_within(value: Any, limit: Limit) -> bool:
    if value is None or isinstance(value, (bool, Mapping)):
        return True
    if isinstance(value, (list, tuple)):
        return all(_is_within(one, limit) for one in value)
    return limit.accepts(value)


def _has_type(value: Any, hint: Any) -> bool:
    """Whether a value has the type of an annotation; unknown annotations accept everything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_has_type(value, one) for one in arguments)
    if hint is int or hint is float:
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not _is_bool(value) and math.isfinite(value)
    if hint is bool:
        return _is_bool(value)
    if hint in (Sequence, list, tuple) or origin in (Sequence, list, tuple):
        return isinstance(value, (list, tuple)) and _have_types(value, origin, arguments)
    if hint is dict or origin is dict:
        return isinstance(value, Mapping)
    if hint in (str, type(None)):
        return isinstance(value, hint)
    return True


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ('bool_', 'bool')  # NumPy's


def _have_types(values: Sequence, origin: Any, arguments: tuple) -> bool:
    if origin is tuple and Ellipsis not in arguments:
        return len(values) == len(arguments) and all(map(_has_type, values, arguments))
    return all(_has_type(one, arguments[0]) for one in values) if arguments else True


def _describe_type(hint: Any) -> str:
    """Describe an annotation as a user would write it.

    >>> _describe_type(int | None), _describe_type(tuple[float, float])
    ('int or None', 'tuple[float, float]')
    """
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return ' or '.join(_describe_type(one) for one in typing.get_args(hint))
    if hint is type(None):
        return 'None'
    if typing.get_args(hint):
        return str(hint).replace('collections.abc.', '').replace('typing.', '')
    return getattr(hint, '__name__', str(hint))
