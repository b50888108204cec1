"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
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
