"""Decoded images of a dataset in memory that all workers share."""

import mmap
import os
from collections.abc import Callable

import numpy as np

from abaw_mm.errors import InvalidValueError

SHARE = 0.5  # of the machine's memory that images may fill


class KeptImages:
    """Images that are decoded once and then kept in shared memory.

    A process that forks later shares them: the worker that needs an image first stores it for all.
    Two workers that store the same image write the same bytes.

    Args:
        number (int): Number of images.
        shape (tuple[int, ...]): Shape of each image, uint8.

    >>> images = KeptImages(2, (1, 1, 3))
    >>> calls = []
    >>> def load():
    ...     calls.append(1)
    ...     return np.full((1, 1, 3), 7, np.uint8)
    >>> images.get(1, load).tolist(), images.get(1, load).tolist(), len(calls)
    ([[[7, 7, 7]]], [[[7, 7, 7]]], 1)
    """

    def __init__(self, number: int, shape: tuple[int, ...]) -> None:
        size = count_bytes(number, shape)
        # Anonymous: not limited by the size of /dev/shm, and pages are allocated when written.
        memory = np.frombuffer(mmap.mmap(-1, size + number), np.uint8)
        self.images = memory[:size].reshape(number, *shape)
        self.is_kept = memory[size:]

    def get(self, index: int, load: Callable[[], np.ndarray]) -> np.ndarray:
        """Return an image, which is loaded if it has not been.

        Raises:
            InvalidValueError: If it has another shape or type.
        """
        if not self.is_kept[index]:
            image = load()
            if image.shape != self.images.shape[1:] or image.dtype != np.uint8:
                raise InvalidValueError(
                    f'got an image of shape {image.shape} and type {image.dtype}, expected '
                    f'{self.images.shape[1:]} and uint8 as the first one; add '
                    "dict(type='Resize', scale=(112, 112)) after LoadFaceCrop and count it in keep"
                )
            self.images[index] = image
            self.is_kept[index] = 1
        return self.images[index]


def count_bytes(number: int, shape: tuple[int, ...]) -> int:
    """Return the size of uint8 images.

    >>> count_bytes(4000, (112, 112, 3))
    150528000
    """
    return number * int(np.prod(shape))


def fits_memory(size: int) -> bool:
    """Return whether bytes fit into half of the machine's memory."""
    return size <= SHARE * os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
