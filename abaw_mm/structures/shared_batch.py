"""Send batches of images from the workers of a data loader through memory that is used again.

PyTorch allocates new shared memory for each tensor of each batch. The kernel clears its pages, and
both processes map them, which takes longer than copying the pixels.
"""

import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

HEADER = 64  # bytes before the pixels, of which the first says whether the slot is in use
_slots: list[torch.Tensor] = []  # of this worker
_owner = 0  # process id; a forked process starts without slots


class SharedBatch(dict):
    """A batch whose images are in a slot of shared memory.

    The process that receives it gets an ordinary dict of tensors. The slot is free again when no
    tensor or array there refers to the images any more, and the worker then uses it for another
    batch. A worker whose slots are all in use allocates one more.

    Args:
        images (Sequence[ndarray]): N images (H, W, 3) uint8 of one size.
        columns (dict): Further arrays, which are sent as bytes, and values of other types.
    """

    def __init__(self, images: Sequence[np.ndarray], columns: dict[str, Any]) -> None:
        super().__init__(columns)
        self._shape = (len(images), *images[0].shape)
        size = int(np.prod(self._shape))
        self._slot = _take_slot(size)
        stacked = self._slot.numpy()[HEADER : HEADER + size].reshape(self._shape)
        np.stack(images, out=stacked)

    def __reduce__(self) -> tuple:
        return _receive, (self._slot, self._shape, dict(self))


def _take_slot(size: int) -> torch.Tensor:
    """Return a slot for that many bytes, and mark it as used."""
    global _owner
    if _owner != os.getpid():
        _slots.clear()
        _owner = os.getpid()
    for slot in _slots:
        if len(slot) >= HEADER + size and not slot[0]:
            break
    else:
        slot = torch.empty(HEADER + size, dtype=torch.uint8).share_memory_()
        _slots.append(slot)
    slot[0] = 1
    return slot


def _receive(slot: torch.Tensor, shape: tuple[int, ...], columns: dict[str, Any]) -> dict:
    """Make the tensors of a batch; free the slot when nothing refers to its images."""
    images = slot.numpy()[HEADER : HEADER + int(np.prod(shape))].reshape(shape)
    # A storage of its own, which keeps this array, and so the slot, until it is freed.
    inputs = torch.from_numpy(images)
    weakref.finalize(images, _free, slot).atexit = False
    return dict(inputs=inputs) | to_tensors(columns)


def _free(slot: torch.Tensor) -> None:
    slot[0] = 0


def to_tensors(columns: dict[str, Any]) -> dict[str, Any]:
    """Make tensors of arrays; keep other values."""
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in columns.items()
    }
