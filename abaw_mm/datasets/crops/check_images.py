"""Are the crops whole pictures? Every one decoded as for training, in several processes."""

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager

import numpy as np
from PIL import ImageFile

from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    crop_path,
)
from abaw_mm.datasets.crops.load_face_crop import (
    UnreadableFrameError,
    read_crop,
)

CHUNK = 64  # crops that a worker decodes at once: a fraction of a second, so that Ctrl-C is quick


def _start_worker() -> None:
    """A worker leaves Ctrl-C to the parent, and does not fill truncated pictures up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def _decode(
    roots: Sequence[CropFolder], clip: str, numbers: np.ndarray, owners: np.ndarray
) -> tuple[str, Counter, dict[str, str]]:
    """Of some crops of a clip: the sizes, and path to reason of those that are broken."""
    sizes, broken = Counter(), {}
    for number, owner in zip(numbers.tolist(), owners.tolist(), strict=True):
        path = crop_path(roots, clip, number, owner)
        try:
            height, width = read_crop(path).shape[:2]
            sizes[f'{width}x{height}'] += 1
        except UnreadableFrameError as error:
            broken[path] = error.reason
    return clip, sizes, broken


@contextmanager
def decoding(
    roots: Sequence[CropFolder], crops: dict[str, tuple[np.ndarray, np.ndarray]], workers: int
) -> Iterator[Iterator[Future]]:
    """Decode all crops in ``workers`` processes; what is left is dropped when the block is left.

    Args:
        roots: Where crops lie.
        crops: What ``list_crops`` returns for the roots.
        workers: Number of processes.

    Yields:
        Iterator[Future]: Each gives a clip, a Counter of sizes, and path to reason of broken crops.
    """
    pool = ProcessPoolExecutor(workers, initializer=_start_worker)
    try:
        # Submitted here, not while the caller iterates: a fork beside the thread of a progress bar
        # could copy a lock that is held.
        yield as_completed(
            [
                pool.submit(_decode, roots, clip, numbers[at : at + CHUNK], owners[at : at + CHUNK])
                for clip, (numbers, owners) in crops.items()
                for at in range(0, len(numbers), CHUNK)
            ]
        )
    finally:
        pool.shutdown(cancel_futures=True)
