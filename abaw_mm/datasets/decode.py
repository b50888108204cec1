"""Are the crops whole pictures? Every one decoded, in several processes."""

import io
import re
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from .crops import CropFolder, crop_path

CHUNK = 64  # crops that a worker decodes at once: a fraction of a second, so that Ctrl-C is quick
DECODE_ERRORS = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)


def check_image(data: bytes) -> tuple[str, str]:
    """Size of a picture such as ``'112x112'``, and what is wrong with it, each '' where unknown.

    >>> check_image(b'')
    ('', 'empty file')
    """
    if not data:
        return '', 'empty file'
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()  # open reads the header only
            return f'{image.width}x{image.height}', ''
    except DECODE_ERRORS as error:
        return '', re.sub(r' <_io.*>', '', str(error))  # the address of the buffer tells nothing


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
            size, reason = check_image(Path(path).read_bytes())
        except OSError as error:
            size, reason = '', str(error)
        if reason:
            broken[path] = reason
        else:
            sizes[size] += 1
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
        yield as_completed([
            pool.submit(_decode, roots, clip, numbers[at:at + CHUNK], owners[at:at + CHUNK])
            for clip, (numbers, owners) in crops.items() for at in range(0, len(numbers), CHUNK)
        ])
    finally:
        pool.shutdown(cancel_futures=True)
