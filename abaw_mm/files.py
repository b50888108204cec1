"""Write files whole or not at all, and identify them by checksum."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """A draft beside ``path``, with the same suffix, that takes its place when the block ends.

    If anything fails, the draft goes and what was at ``path`` stays. Folders are made.

    Yields:
        Path: The draft, to be written in the block.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def sha256(path: str | os.PathLike) -> str:
    """Checksum of a file, as ``sha256sum`` gives it."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
