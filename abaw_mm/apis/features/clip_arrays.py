"""Sort the named arrays of a file of features into clips."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from abaw_mm.apis.features.feature_file import Read
from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.structures import MAX_INT, check_clip_names

MAX_FLOAT16 = float(np.finfo(np.float16).max)
FRAME = re.compile(r'(?:.*/)?([^/]+)/(\d{1,10})(?:\.\w{1,5})?')  # video1/00001.jpg
FORMS = (
    "keys such as 'video1/00001.jpg' with one row each; names of clips with arrays (frames, "
    "numbers); or 'video1/features' and 'video1/frame_no'; or the arrays 'names' and 'features'"
)


@dataclass
class ClipArray:
    """The features of a clip in a file.

    Attributes:
        frame_no (ndarray): (F, ) int64, increasing.
        read (Callable): Returns the features (F, D), in the order of ``frame_no``.
    """

    frame_no: np.ndarray
    read: Callable[[], np.ndarray]


def sort_by_clip(
    entries: Mapping[str, Read], path: object, part: int = 0, start_index: int = 1
) -> dict[str, ClipArray]:
    """Sort the named arrays of a file into clips.

    Args:
        entries (dict): Name to a function that reads the array, or a tuple of arrays.
        path: The file, for messages.
        part (int): Which array of a tuple to use.
        start_index (int): Number of the first row of a clip whose frames have no numbers.

    Returns:
        dict: Clip to its features, sorted by name.

    Raises:
        ValueError: If the names have another form, or a clip or frame is invalid or repeated.
    """
    if set(entries) == {'names', 'features'}:
        clips = _split_table(entries, path)
    elif all(FRAME.fullmatch(name) for name in entries):
        clips = _join_rows(entries, path, part)
    elif all(name.endswith(('/features', '/frame_no')) for name in entries):
        clips = _pair_arrays(entries, path, part, start_index)
    elif not any('/' in name for name in entries):
        clips = {
            name: _number_rows(read, None, f'{path}: {name}', part, start_index)
            for name, read in entries.items()
        }
    else:
        raise InvalidValueError(
            f'{path}: got the names {", ".join(map(shorten_text, list(entries)[:3]))}, expected '
            f'{FORMS}'
        )
    if not clips:
        raise InvalidValueError(f'{path}: got no features, expected {FORMS}')
    check_clip_names(clips, str(path))
    return dict(sorted(clips.items()))


def check_features(features: np.ndarray, array: ClipArray, clip: str, dim: int | None) -> None:
    """Check the features of a clip.

    Args:
        features (ndarray): What ``array.read`` returned.
        dim (int, optional): The width of the clips before.

    Raises:
        ValueError: If they are no numbers, have another width, or float16 cannot hold one of them.
    """
    if features.ndim != 2 or features.dtype.kind not in 'fiu' or not features.shape[1]:
        raise InvalidValueError(
            f'features of {clip!r}: got {features.dtype} of shape {features.shape}, expected '
            'numbers (frames, width)'
        )
    if dim is not None and features.shape[1] != dim:
        raise InvalidValueError(
            f'features of {clip!r}: got {features.shape[1]} per frame, expected {dim} as in the '
            'clips before; import features of one network per folder'
        )
    fits = np.all(np.abs(features.astype(np.float64)) <= MAX_FLOAT16, axis=1)  # False for NaN
    if not fits.all():
        raise InvalidValueError(
            f'features of {clip!r}: got NaN, infinite or numbers beyond {MAX_FLOAT16:.0f} for '
            f'frame {array.frame_no[fits.argmin()]} ({np.count_nonzero(~fits)} such frames), '
            'expected numbers that float16 holds; leave such frames out, or scale the features'
        )


def _split_table(entries: Mapping[str, Read], path: object) -> dict[str, ClipArray]:
    """Sort the rows of one array by the names of their frames."""
    names, features = entries['names'](), np.asarray(entries['features']())
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in np.ravel(names)]
    if features.ndim != 2 or len(features) != len(names):
        raise InvalidValueError(
            f'{path}: got {len(names)} names for features of shape {features.shape}, expected one '
            'name per row'
        )
    bad = next((name for name in names if not FRAME.fullmatch(name)), None)
    if bad is not None:
        raise InvalidValueError(
            f'{path}: got the name {shorten_text(bad)}, expected one such as video1/00001.jpg'
        )
    return {
        clip: ClipArray(numbers, partial(features.__getitem__, rows))
        for clip, (numbers, rows) in _group(names, path).items()
    }


def _join_rows(entries: Mapping[str, Read], path: object, part: int) -> dict[str, ClipArray]:
    """Join the rows of frames that are arrays of their own."""
    reads = list(entries.values())
    return {
        clip: ClipArray(
            numbers, partial(_stack, [reads[row] for row in rows], part, f'{path}: {clip!r}')
        )
        for clip, (numbers, rows) in _group(list(entries), path).items()
    }


def _stack(reads: list[Read], part: int, what: str) -> np.ndarray:
    rows = [np.ravel(_take(read(), part, what)) for read in reads]
    widths = sorted({len(row) for row in rows})
    if len(widths) > 1:
        raise InvalidValueError(
            f'{what}: got rows of {" and ".join(map(str, widths))} numbers, expected one width'
        )
    return np.stack(rows)


def _group(names: list[str], path: object) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the sorted frame numbers of each clip, and the rows of their names."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row, name in enumerate(names):
        match = FRAME.fullmatch(name)
        assert match is not None
        found.setdefault(match[1], []).append((int(match[2]), row))
    clips = {}
    for clip, pairs in found.items():
        numbers, rows = np.array(sorted(pairs)).T
        _check_numbers(numbers, f'{path}: {clip!r}')
        clips[clip] = (numbers, rows)
    return clips


def _pair_arrays(
    entries: Mapping[str, Read], path: object, part: int, start_index: int
) -> dict[str, ClipArray]:
    """Pair the features of each clip with its frame numbers."""
    clips: dict[str, ClipArray] = {}
    for name in entries:
        clip, _, kind = name.rpartition('/')
        if f'{clip}/features' not in entries:
            raise InvalidValueError(f'{path}: got {name!r} without {clip}/features, expected both')
        if kind == 'features':
            clips[clip] = _number_rows(
                entries[name], entries.get(f'{clip}/frame_no'), f'{path}: {clip}', part, start_index
            )
    return clips


def _number_rows(
    read: Read, read_numbers: Read | None, what: str, part: int, start_index: int
) -> ClipArray:
    """Number the rows of a clip's array, consecutively if it has no frame numbers."""
    if read_numbers is None:
        count = len(np.atleast_1d(_take(read(), part, what)))
        numbers = np.arange(start_index, start_index + count)
    else:
        numbers = np.asarray(read_numbers())
        if numbers.ndim != 1 or numbers.dtype.kind not in 'iu':
            raise InvalidValueError(
                f'{what}: got frame_no of {numbers.dtype} {numbers.shape}, expected integers (F, )'
            )
    order = np.argsort(numbers, kind='stable')
    numbers = numbers[order].astype(np.int64)
    _check_numbers(numbers, what)
    return ClipArray(numbers, partial(_read_in_order, read, part, what, order))


def _read_in_order(read: Read, part: int, what: str, order: np.ndarray) -> np.ndarray:
    features = _take(read(), part, what)
    if len(np.atleast_1d(features)) != len(order):
        raise InvalidValueError(
            f'{what}: got {len(np.atleast_1d(features))} rows of features for {len(order)} frame '
            'numbers, expected one per frame'
        )
    return features[order]


def _check_numbers(numbers: np.ndarray, what: str) -> None:
    """Raise ValueError if sorted frame numbers are repeated or out of range."""
    if len(numbers) and not 0 <= numbers[0] <= numbers[-1] <= MAX_INT:
        raise InvalidValueError(
            f'{what}: got the frame numbers {numbers[0]} to {numbers[-1]}, expected 0 to {MAX_INT}'
        )
    repeated = np.flatnonzero(np.diff(numbers) == 0)
    if len(repeated):
        raise InvalidValueError(
            f'{what}: got frame {numbers[repeated[0]]} twice, expected each frame once '
            f'({len(repeated)} such frames); remove one of them'
        )


def _take(value: Any, part: int, what: str) -> np.ndarray:
    """Return an array, or one of a tuple of arrays."""
    if isinstance(value, tuple):
        if not 0 <= part < len(value):
            raise InvalidValueError(
                f'--part: got {part}, expected 0 to {len(value) - 1}: each entry of {what} has '
                f'{len(value)} arrays'
            )
        value = value[part]
    return np.asarray(value)
