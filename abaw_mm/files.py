"""Write files atomically and compute their checksums."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from abaw_mm.errors import FileAccessError, UserError


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Replace a file only after its new content is complete.

    The block writes to a temporary file in the same folder, with the same suffix. The temporary
    file replaces ``path`` when the block ends. If the block raises, the temporary file is deleted
    and ``path`` keeps its content. Missing parent folders are created.

    Yields:
        Path: The temporary file to write.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise FileAccessError(
            f'{path} cannot be written: {error}; free disk space or give another path'
        ) from error
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)


def sha256(path: str | os.PathLike) -> str:
    """Compute the SHA-256 checksum of a file, as ``sha256sum`` prints it."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
