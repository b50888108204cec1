"""Bring stored pictures into the shape in which they are to be shown."""

from fractions import Fraction
from typing import Any

import cv2
import numpy as np

MAX_ASPECT = 8  # of a pixel; headers with more are damaged


def square_pixels(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Return the size of a picture with square pixels. No side becomes shorter.

    Args:
        width (int): Stored width in pixels.
        height (int): Stored height in pixels.
        aspect (Fraction): Width of a stored pixel divided by its height.

    >>> square_pixels(720, 576, Fraction(16, 15)), square_pixels(720, 480, Fraction(8, 9))
    ((768, 576), (720, 540))
    """
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def read_rotation(frame: Any) -> np.ndarray:
    """Return how a frame of PyAV is to be turned, (2, 2) int of 0, 1 and -1.

    The matrix maps column and row of the stored picture to those of the shown one, apart from a
    shift. Other angles are rounded to multiples of 90 degrees.
    """
    matrix = np.eye(3, dtype=np.int32)
    data = frame.side_data.get('DISPLAYMATRIX')  # to iterate gives keys from PyAV 19 on
    if data is not None:  # rows (a, b, u), (c, d, v), (x, y, w)
        matrix = np.frombuffer(bytes(data), np.int32, 9).reshape(3, 3)
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(a) >= abs(b):
        return np.array([[_sign(a), 0], [0, _sign(d)]])
    return np.array([[0, _sign(c)], [_sign(b), 0]])


def _sign(number: int) -> int:
    return -1 if number < 0 else 1


def turn_picture(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn and flip a picture (H, W, 3) by the matrix of :func:`read_rotation`.

    >>> clockwise = np.array([[0, -1], [1, 0]])
    >>> turn_picture(np.arange(6, dtype=np.uint8).reshape(2, 3), clockwise)
    array([[3, 0],
           [4, 1],
           [5, 2]], dtype=uint8)
    """
    if not matrix[0, 0]:
        image = cv2.transpose(image)
    flips_x, flips_y = matrix.sum(1) < 0
    if flips_x or flips_y:
        image = cv2.flip(image, -1 if flips_x and flips_y else int(flips_x))
    return image
