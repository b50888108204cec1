"""Read pickles of dicts, lists, numbers and NumPy arrays as data."""

import os
import pickle
from collections.abc import Callable
from typing import Any

from abaw_mm.checkpoints.checks.plain_arrays import (
    ARRAY_GLOBALS,
    PlainArray,
    PlainDtype,
)
from abaw_mm.errors import InvalidValueError
from abaw_mm.files import explain_damage

EXPECTED = 'a pickle of a dict of NumPy arrays'
ADVICE = 'ask for the features as .npz or .h5, or write them so on a machine without valuable data'


class _Call:
    """A function that a pickle may call, but whose attributes it cannot set."""

    __slots__ = ('_function',)

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError('a state of a function')


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any) -> PlainArray:
    """Take the place of NumPy's function of this name, which protocol 5 calls for arrays."""
    if not isinstance(content, (bytes, bytearray)):
        raise pickle.UnpicklingError('an array that is not made of bytes')
    array = PlainArray()
    array.__setstate__((1, shape, dtype, order == 'F', bytes(content)))
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """Take the place of ``_codecs.encode``, by which protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != 'latin1':
        raise pickle.UnpicklingError('an encoding other than latin1')
    return text.encode('latin1')


_ALLOWED: dict[str, Any] = {
    **{name: value if isinstance(value, type) else _Call(value) for value, name in ARRAY_GLOBALS},
    **{f'numpy.{core}.numeric._frombuffer': _Call(_frombuffer) for core in ('core', '_core')},
    '_codecs.encode': _Call(_encode),
    'collections.OrderedDict': dict,
}
assert _ALLOWED['numpy.dtype'] is PlainDtype  # classes check the states that a pickle gives them


class _Unpickler(pickle.Unpickler):
    """Unpickler that knows no type but NumPy's arrays and scalars of numbers."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what takes the place of a type, see ``Restricting Globals`` in Python's docs."""
        found = f'{module.replace("__builtin__", "builtins")}.{name}'  # as Python 2 names it
        if found not in _ALLOWED:
            raise InvalidValueError(
                f'got a pickle that asks for {ascii(found)[1:-1][:120]}, expected only dicts, '
                f'lists, texts, numbers and NumPy arrays; nothing was run: {ADVICE}'
            )
        return _ALLOWED[found]


def load_plain_pickle(path: str | os.PathLike) -> Any:
    """Read a pickle of any protocol without running anything in it.

    Returns:
        What was pickled: dicts, lists, tuples, texts, numbers, bytes, and arrays of numbers.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is damaged, or asks for any other type.
    """
    with explain_damage(path, EXPECTED, ADVICE), open(path, 'rb') as file:
        try:
            return _Unpickler(file).load()
        except InvalidValueError as error:
            raise InvalidValueError(f'{path}: {error}') from None
        except pickle.UnpicklingError as error:
            raise ValueError(str(error)) from error
