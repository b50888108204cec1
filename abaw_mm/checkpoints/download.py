"""Download checkpoints into the cache of torch.hub."""

import os
import sys
from pathlib import Path
from urllib.parse import urlparse

import mmengine.dist
import torch

from abaw_mm.errors import FileAccessError


def is_url(filename: str) -> bool:
    """Return whether a checkpoint is given by its ``http(s)://`` address.

    >>> is_url('https://example.org/a.pth'), is_url('s3://bucket/a.pth')
    (True, False)
    """
    return filename.startswith(('http://', 'https://'))


def download_checkpoint(url: str) -> Path:
    """Download a file into the cache of torch.hub, unless it is there already.

    Rank 0 downloads first. Then the other ranks look into their cache, which may be another one on
    other machines.

    Raises:
        FileAccessError: If the download fails.
    """
    path = Path(torch.hub.get_dir(), 'checkpoints', os.path.basename(urlparse(url).path))
    try:
        if mmengine.dist.get_rank() == 0:
            _fetch(url, path)
    finally:  # the other ranks wait here, also after a failure
        mmengine.dist.barrier()
    _fetch(url, path)
    return path


def _fetch(url: str, path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
    except OSError as error:
        raise FileAccessError(
            f'{url}: got {error!r} from the download, expected a checkpoint; correct the address, '
            'or download the file yourself and give its path'
        ) from error
