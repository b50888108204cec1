"""Decode every crop in several processes, to find broken files."""

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager

import numpy as np
from PIL import ImageFile

from abaw_mm.datasets.crops.crop_folder import CropFolder, crop_path
from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError, read_crop
from abaw_mm.structures import FrameTable

CHUNK = 64  # crops per task: a fraction of a second, so that Ctrl-C is quick


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and do not pad truncated images."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def _decode(
    roots: Sequence[CropFolder], clip: str, numbers: np.ndarray, sources: np.ndarray
) -> tuple[str, Counter, dict[str, str]]:
    """Decode some crops of a clip; returns clip, sizes, and path to reason of broken crops."""
    sizes: Counter = Counter()
    broken = {}
    for number, source in zip(numbers.tolist(), sources.tolist(), strict=True):
        path = crop_path(roots, clip, number, source)
        try:
            height, width = read_crop(path).shape[:2]
            sizes[f'{width}x{height}'] += 1
        except UnreadableFrameError as error:
            broken[path] = error.reason
    return clip, sizes, broken


@contextmanager
def start_decoding(
    roots: Sequence[CropFolder], crops: FrameTable, workers: int
) -> Iterator[Iterator[Future]]:
    """Decode crops in ``workers`` processes. Leaving the block cancels what is left.

    Args:
        roots (Sequence[CropFolder]): Where crops are stored.
        crops (FrameTable): What ``list_crops`` returns for these roots.
        workers (int): Number of processes.

    Yields:
        Iterator[Future]: Each result is a clip, a Counter of sizes such as ``'112x112'``, and a
        dict from the path of each broken crop to the reason.
    """
    pool = ProcessPoolExecutor(workers, initializer=_start_worker)
    try:
        # Submit here, not while the caller iterates: a fork while the thread of a progress bar
        # runs could copy a lock that is held.
        futures = []
        for clip, rows in zip(crops.clips, crops.rows_by_clip(), strict=True):
            numbers, sources = crops.frame_no[rows], crops['source'][rows]
            for at in range(0, len(numbers), CHUNK):
                part = slice(at, at + CHUNK)
                futures.append(pool.submit(_decode, roots, clip, numbers[part], sources[part]))
        yield as_completed(futures)
    finally:
        pool.shutdown(cancel_futures=True)
