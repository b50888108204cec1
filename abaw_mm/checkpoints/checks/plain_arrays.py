"""Rebuild the arrays of a pickle from checked values.

NumPy's own ``__setstate__`` of arrays and dtypes trusts its argument: invented flags, fields or
sizes crash the process. The classes and functions here take the place of NumPy's in a pickle. They
accept what NumPy writes for arrays and scalars of numbers, and raise for anything else.
"""

import pickle
from typing import Any

import numpy as np

_NAMES = (
    'bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 '
    'complex128'
).split()
_DTYPES = {np.dtype(name).str[1:]: np.dtype(name) for name in _NAMES}  # 'f4': dtype('float32')
_BYTE_ORDERS = ('<', '>', '|', '=')


class PlainDtype:
    """A dtype of numbers, built as ``np.dtype('f4', False, True)`` and a state with its order."""

    def __init__(self, name: Any, *_: Any) -> None:
        _require(isinstance(name, str) and name in _DTYPES, 'dtype', name)
        self.value = _DTYPES[name]

    def __setstate__(self, state: Any) -> None:
        """Take the byte order from a state without fields, subarray, flags or metadata."""
        is_plain = (
            isinstance(state, tuple)
            and len(state) == 8
            and state[1] in _BYTE_ORDERS
            and state[:1] + state[2:] == (3, None, None, None, -1, -1, 0)
        )
        _require(is_plain, 'state of a dtype', state)
        if self.value.itemsize > 1:
            self.value = self.value.newbyteorder(state[1])


class PlainArray(np.ndarray):
    """An array whose state is checked. Copies and pickles of it are those of a plain array."""

    def __new__(cls) -> 'PlainArray':
        """Make an empty array."""
        return super().__new__(cls, 0)

    def __setstate__(self, state: Any) -> None:
        """Set shape and values from ``(version, shape, dtype, is_fortran, bytes)``."""
        is_plain = (
            isinstance(state, tuple)
            and len(state) == 5
            and state[0] == 1
            and isinstance(state[1], tuple)
            and all(type(size) is int for size in state[1])
            and isinstance(state[2], PlainDtype)
            and isinstance(state[3], (bool, int))
            and isinstance(state[4], bytes)
        )
        # A second state would free the memory of the first, which a view may still use.
        _require(is_plain and not self.size, 'state of an array', state)
        _, shape, dtype, is_fortran, content = state
        array: Any = np.ndarray(shape, dtype.value, content, order='F' if is_fortran else 'C')
        _require(array.nbytes == len(content), 'state of an array', state)
        super().__setstate__(array.__reduce__()[2])

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _reconstruct(cls: Any, *_: Any) -> PlainArray:
    """Take the place of NumPy's function of this name, which makes the array to set a state of."""
    _require(cls is PlainArray, 'array class', cls)
    return PlainArray()


def scalar(dtype: Any, content: Any) -> np.generic:
    """Take the place of NumPy's function of this name, which makes a scalar of its bytes."""
    is_plain = (
        isinstance(dtype, PlainDtype)
        and isinstance(content, bytes)
        and len(content) == dtype.value.itemsize
    )
    _require(is_plain, 'scalar', (dtype, content))
    return np.frombuffer(content, dtype.value)[0]


def _make_empty_bytes() -> bytes:
    """Take the place of ``bytes``, which pickles call for the content of an empty array."""
    return b''


def _require(is_plain: bool, kind: str, value: Any) -> None:
    if not is_plain:
        raise pickle.UnpicklingError(
            f'a {kind} that NumPy does not write for numbers: {value!r:.80}'
        )


# Pairs of an object and its name in a pickle. NumPy's module `core` is `_core` from 2.0 on.
ARRAY_GLOBALS: list[Any] = [
    (PlainArray, 'numpy.ndarray'),
    (PlainDtype, 'numpy.dtype'),
    (_make_empty_bytes, 'builtins.bytes'),
    *(
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for core in ('core', '_core')
        for function in (_reconstruct, scalar)
    ),
]
