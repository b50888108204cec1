"""Where the points of a face are in an aligned crop."""

import os
from dataclasses import dataclass

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.files import open_atomic, read_json
from abaw_mm.video.faces import POINTS

EXPECTED = 'a template of aligned faces'
FIX = 'write one by tools/misc/measure_crops.py --out, or leave out --template'


@dataclass(frozen=True, eq=False)
class FaceTemplate:
    """Five points in a square crop.

    Attributes:
        points (ndarray): (5, 2) float64, x and y of :data:`POINTS` in pixels, as in :class:`Faces`.
        size (int): Height and width of the crop in pixels.
    """

    points: np.ndarray
    size: int


# The common template of face recognition, from the code of ArcFace (Deng et al., 2019).
ARCFACE = FaceTemplate(
    np.array(
        [
            [38.2946, 51.6963],
            [73.5318, 51.5014],
            [56.0252, 71.7366],
            [41.5493, 92.3655],
            [70.7299, 92.2041],
        ]
    ),
    112,
)


def read_template(path: str | os.PathLike) -> FaceTemplate:
    """Read a template that :func:`write_template` has written.

    Raises:
        MissingFileError: If the file does not exist.
        InvalidValueError: If it has other keys, or a value is not a number or outside of the crop.
    """
    content = read_json(path, EXPECTED, FIX)
    if set(content) != {'size', *POINTS}:
        raise InvalidValueError(
            f'{path}: got the keys {shorten(sorted(content))}, expected size, {", ".join(POINTS)}; '
            f'{FIX}'
        )
    size = content['size']
    if type(size) is not int or not 1 <= size <= 4096:
        raise InvalidValueError(f'{path}: size: got {size!r}, expected 1 to 4096; {FIX}')
    for name in POINTS:
        point = content[name]
        if not (
            isinstance(point, list)
            and len(point) == 2
            and all(type(x) in (int, float) and 0 <= x <= size for x in point)
        ):
            raise InvalidValueError(
                f'{path}: {name}: got {point!r}, expected x and y of 0 to {size}; {FIX}'
            )
    return FaceTemplate(np.array([content[name] for name in POINTS], np.float64), size)


def write_template(path: str | os.PathLike, template: FaceTemplate) -> None:
    """Write a template as a JSON file of ``size`` and five named points.

    Raises:
        FileAccessError: If the file cannot be written.
    """
    named = zip(POINTS, template.points.tolist(), strict=True)
    lines = [f'"{name}": [{x:.4f}, {y:.4f}]' for name, (x, y) in named]
    with open_atomic(path, 'w', encoding='utf-8') as file:
        file.write('{\n' + ',\n'.join([f'"size": {template.size}', *lines]) + '\n}\n')
