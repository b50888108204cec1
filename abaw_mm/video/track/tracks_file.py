"""Write and read the tracks of a video as a file that people can edit.

.. code-block:: text

    {
    "size": [640, 360],                          width and height of the pictures
    "first_frame": 1,                            number of the first frame that was read
    "time": [0.0, 0.0333, ...],                  presentation time of each frame, in seconds
    "faces": [
    {"name": "interview_left", "frames": [
    {"frame": 1, "box": [L, T, R, B], "points": [[X, Y], ...], "score": 0.99},
    ...
    ]}
    ]
    }

Each entry of ``faces`` is one track; their order is that of the face ids. To rename a person,
change the name. To merge tracks, give them the same name. To drop a person, delete the entry; to
drop a frame, delete its line.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.files import open_atomic, read_json
from abaw_mm.structures import MAX_INT, FrameTable, check_clip_names
from abaw_mm.video.faces import POINTS
from abaw_mm.video.track.face_tracks import FaceTracks

EXPECTED = 'the tracks of a video (tracks.json)'
FIX = 'correct the file, or delete it to find the faces again'
MAX_PIXEL = 1_000_000  # far outside of any picture
SHAPES: dict[str, tuple[int, ...]] = dict(box=(4,), points=(len(POINTS), 2), score=())


def write_tracks(path: str | os.PathLike, tracks: FaceTracks) -> None:
    """Write tracks so that :func:`read_tracks` returns equal ones.

    Raises:
        FileAccessError: If the file cannot be written.
    """
    with open_atomic(path, 'w', encoding='utf-8') as file:
        file.write('{\n')
        file.write(f'"size": {json.dumps(list(tracks.size))},\n')
        file.write(f'"first_frame": {tracks.first_frame},\n')
        file.write(f'"time": {json.dumps(tracks.time.tolist())},\n"faces": [')
        for person, rows in enumerate(tracks.rows_by_clip()):
            name = json.dumps(tracks.clips[person], ensure_ascii=False)
            lines = ',\n'.join(_format_rows(tracks.take(rows)))
            file.write(f'{"," if person else ""}\n{{"name": {name}, "frames": [\n{lines}\n]}}')
        file.write('\n]\n}\n')


def _format_rows(tracks: FaceTracks) -> Iterator[str]:
    """Yield the line of each face. Its numbers are the shortest that are the same in float32."""
    for number, box, points, score in zip(
        tracks.frame_no, tracks['box'], tracks['points'], tracks['score'], strict=True
    ):
        pairs = ', '.join(f'[{x}, {y}]' for x, y in points)
        yield (
            f'{{"frame": {number}, "box": [{", ".join(map(str, box))}], '
            f'"points": [{pairs}], "score": {score}}}'
        )


def read_tracks(path: str | os.PathLike) -> FaceTracks:
    """Read tracks that :func:`write_tracks` has written and that may have been edited.

    Returns:
        FaceTracks: The tracks, sorted. Entries of the same name are one person.

    Raises:
        MissingFileError: If the file does not exist.
        InvalidValueError: If it is damaged, a key is missing or unknown, a value has the wrong type
            or length, or a person has two faces in one frame. The message names the place.
    """
    content = read_json(path, EXPECTED, FIX)
    _check_keys(path, '', content, ('size', 'first_frame', 'time', 'faces'))
    size = [_read_int(path, 'size', number) for number in _read_list(path, 'size', content['size'])]
    if len(size) != 2:
        raise _fail(path, 'size', size, 'width and height')
    first = _read_int(path, 'first_frame', content['first_frame'])
    time = _read_numbers(path, 'time', content['time'])
    if time.ndim != 1 or np.any(np.diff(time) <= 0):
        raise _fail(path, 'time', content['time'], 'times that increase')
    numbers = range(first, first + len(time))
    faces: dict[str, dict[int, tuple[np.ndarray, ...]]] = {}
    for i, entry in enumerate(_read_list(path, 'faces', content['faces'])):
        where = f'faces[{i}]'
        _check_keys(path, where, entry, ('name', 'frames'))
        check_clip_names([entry['name']], f'{path}: {where}.name')
        rows = faces.setdefault(entry['name'], {})
        for k, face in enumerate(_read_list(path, f'{where}.frames', entry['frames'])):
            number, columns = _read_face(path, f'{where}.frames[{k}]', face, numbers)
            if number in rows:
                expected = f'each frame once for {entry["name"]!r}'
                raise _fail(path, f'{where}.frames[{k}].frame', number, expected)
            rows[number] = columns
    table = FrameTable.from_clips({name: list(rows) for name, rows in faces.items()})
    parts = [columns for rows in faces.values() for columns in rows.values()]
    return FaceTracks(
        table.clips,
        table.clip_id,
        table.frame_no,
        {
            name: np.array([part[i] for part in parts], np.float32).reshape(-1, *shape)
            for i, (name, shape) in enumerate(SHAPES.items())
        },
        time=time,
        first_frame=first,
        size=(size[0], size[1]),
    ).sort()


def _read_face(
    path: str | os.PathLike, where: str, face: Any, numbers: range
) -> tuple[int, tuple[np.ndarray, ...]]:
    """Read one line: the number of the frame, and the columns of the face."""
    _check_keys(path, where, face, ('frame', *SHAPES))
    number = _read_int(path, f'{where}.frame', face['frame'])
    if number not in numbers:
        expected = f'{numbers.start} to {numbers.stop - 1}, as "time" and "first_frame" say'
        raise _fail(path, f'{where}.frame', number, expected)
    columns = []
    for name, shape in SHAPES.items():
        columns.append(_read_numbers(path, f'{where}.{name}', face[name]))
        if columns[-1].shape != shape:
            expected = ' x '.join(map(str, shape)) + ' numbers' if shape else 'one number'
            raise _fail(path, f'{where}.{name}', face[name], expected)
        if np.any(np.abs(columns[-1]) > MAX_PIXEL):
            raise _fail(path, f'{where}.{name}', face[name], f'numbers up to {MAX_PIXEL}')
    box, points, _ = columns
    if np.any(box[2:] <= box[:2]):
        raise _fail(path, f'{where}.box', face['box'], 'left, top, right and bottom')
    if not np.ptp(points, axis=0).any():
        raise _fail(path, f'{where}.points', face['points'], 'different points')
    return number, tuple(columns)


def _check_keys(path: str | os.PathLike, where: str, value: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(value, dict) or set(value) != set(keys):
        got = sorted(value) if isinstance(value, dict) else value
        raise _fail(path, where or 'the file', got, f'the keys {", ".join(keys)}')


def _read_list(path: str | os.PathLike, where: str, value: Any) -> list:
    if not isinstance(value, list):
        raise _fail(path, where, value, 'a list')
    return value


def _read_int(path: str | os.PathLike, where: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INT:
        raise _fail(path, where, value, 'a whole number')
    return value


def _read_numbers(path: str | os.PathLike, where: str, value: Any) -> np.ndarray:
    try:
        array = np.array(value)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.size and (array.dtype.kind not in 'if' or not np.all(np.isfinite(array))):
        raise _fail(path, where, value, 'finite numbers')
    return array.astype(np.float64)


def _fail(path: str | os.PathLike, where: str, got: Any, expected: str) -> InvalidValueError:
    return InvalidValueError(
        f'{path}: {where}: got {shorten_text(json.dumps(got))}, expected {expected}; {FIX}'
    )
