"""Open files of features of other people: .npz, .h5 and pickles, as named arrays."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from abaw_mm.checkpoints.plain_pickle import load_plain_pickle
from abaw_mm.errors import InvalidValueError, MissingPackageError
from abaw_mm.files import check_zip, explain_damage

KINDS = {
    '.npz': 'npz',
    '.h5': 'h5',
    '.hdf5': 'h5',
    '.pkl': 'pickle',
    '.pickle': 'pickle',
}
MAX_DEPTH = 4  # of dicts within dicts
META = 'meta'  # the record of our own exports
FIX = 'get it again'

Read = Callable[[], Any]  # reads one array, a text, or a tuple of arrays


def get_kind(path: str | os.PathLike) -> str:
    """Return ``'npz'``, ``'h5'`` or ``'pickle'`` by the suffix of a file.

    Raises:
        ValueError: If the suffix is another one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        raise InvalidValueError(
            f'{path}: got the suffix {suffix!r}, expected one of {", ".join(KINDS)}; rename the '
            'file, or save the features in one of these formats'
        )
    return KINDS[suffix]


@contextmanager
def open_features(path: str | os.PathLike) -> Iterator[dict[str, Read]]:
    """Open a file of features.

    Yields:
        dict: Names, with a slash between the parts of nested ones, to functions that read them.

    Raises:
        ImportError: If h5py is needed and not installed.
        FileNotFoundError: If the file does not exist.
        ValueError: If it is damaged, or contains more than data.
    """
    kind = get_kind(path)
    opener = {'npz': _open_npz, 'h5': _open_h5, 'pickle': _open_pickle}[kind]
    expected = f'a file of features ({kind})'

    def explain(read: Read) -> Read:
        def read_array() -> Any:
            with explain_damage(path, expected, FIX):
                return read()

        return read_array

    with ExitStack() as stack:
        with explain_damage(path, expected, FIX):
            entries = stack.enter_context(opener(path))
        yield {name: explain(read) for name, read in entries.items()}


@contextmanager
def _open_npz(path: str | os.PathLike) -> Iterator[dict[str, Read]]:
    check_zip(path)
    with np.load(path, allow_pickle=False) as file:
        yield {name: partial(file.__getitem__, name) for name in file.files}


@contextmanager
def _open_pickle(path: str | os.PathLike) -> Iterator[dict[str, Read]]:
    content = load_plain_pickle(path)
    if not isinstance(content, dict):
        raise InvalidValueError(
            f'{path}: got a pickled {type(content).__name__}, expected a dict of arrays, with keys '
            "such as 'video1/00001.jpg'; save it as such"
        )
    yield dict(_flatten(content, path))


def _flatten(
    content: Mapping, path: object, prefix: str = '', depth: int = 1
) -> Iterator[tuple[str, Read]]:
    for key, value in content.items():
        if not isinstance(key, str) or depth > MAX_DEPTH:
            raise InvalidValueError(
                f'{path}: got the key {key!r:.80}, expected texts such as '
                "'video1/00001.jpg'; save the features under such keys"
            )
        if isinstance(value, dict):
            yield from _flatten(value, path, f'{prefix}{key}/', depth + 1)
        elif isinstance(value, tuple) and any(np.ndim(v) for v in value):
            yield prefix + key, partial(_to_plain_arrays, value)
        else:
            yield prefix + key, partial(np.asarray, value)


def _to_plain_arrays(values: tuple) -> tuple[np.ndarray, ...]:
    return tuple(map(np.asarray, values))


@contextmanager
def _open_h5(path: str | os.PathLike) -> Iterator[dict[str, Read]]:
    h5py = import_h5py()
    with h5py.File(path, 'r') as file:
        entries: dict[str, Read] = {}

        def add(name: str, node: Any) -> None:
            if not isinstance(node, h5py.Dataset):
                return
            if node.is_virtual or node.external:
                raise InvalidValueError(
                    f'{path}: got {name!r}, whose numbers are in another file, expected one file; '
                    'copy it with h5repack'
                )
            is_text = h5py.check_string_dtype(node.dtype) is not None
            entries[name] = lambda: node.asstr()[()] if is_text else node[()]

        file.visititems(add)
        yield entries


def import_h5py() -> Any:
    """Import h5py, which is an optional package.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingPackageError(
            f'h5py cannot be imported ({error}), expected it for .h5 files; run pip install h5py'
        ) from error
    return h5py
