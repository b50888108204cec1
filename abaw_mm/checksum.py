"""Which file it was."""

import hashlib
import os


def sha256(path: str | os.PathLike) -> str:
    """Checksum of a file, as ``sha256sum`` gives it."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
