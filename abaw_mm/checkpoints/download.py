"""Download checkpoints into the cache of torch.hub."""

import hashlib
import logging
import os
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import mmengine.dist
import torch
from mmengine.logging import print_log

from abaw_mm.errors import FileAccessError

TIMEOUT = 10  # seconds to wait for a server's answer
HEADERS = {'User-Agent': 'torch.hub'}  # as torch.hub; some servers refuse Python's own
MAX_NAME = 100  # characters of a file name


def is_url(filename: str) -> bool:
    """Return whether a checkpoint is given by its ``http(s)://`` address.

    >>> is_url('https://example.org/a.pth'), is_url('s3://bucket/a.pth')
    (True, False)
    """
    return filename.startswith(('http://', 'https://'))


def download_checkpoint(url: str) -> Path:
    """Download a file into the cache of torch.hub, unless the same version is there already.

    torch.hub and mmengine name a download by the last part of its address alone, and never notice
    a changed file. Here the folder of a download is named by its whole address and by what the
    server says of the file's version (:func:`ask_version`). Versions are kept beside each other.
    If the server does not answer, the newest one is used, with a warning.

    Rank 0 chooses the version. The other ranks look into their cache, which may be another one on
    other machines.

    Raises:
        FileAccessError: If the download fails.
    """
    cache = Path(torch.hub.get_dir(), 'checkpoints')
    chosen: list[Any] = [None]
    try:
        if mmengine.dist.get_rank() == 0:
            path = _choose_version(url, cache)
            _fetch(url, path)
            chosen = [str(path.relative_to(cache))]
    finally:  # the other ranks wait here, also after a failure
        mmengine.dist.broadcast_object_list(chosen)
    if chosen[0] is None:
        raise FileAccessError(f'{url}: the download on rank 0 failed; see its message')
    path = cache / chosen[0]
    _fetch(url, path)
    return path


def ask_version(url: str) -> str:
    """Ask a server for the version of a file: ETag, else date of change and size.

    Returns:
        str: The version, ``''`` if the server names none.

    Raises:
        OSError: If the server does not answer, or has no such file.
    """
    with urlopen(Request(url, headers=HEADERS, method='HEAD'), timeout=TIMEOUT) as answer:
        headers = answer.headers
    etag = headers.get('ETag', '').removeprefix('W/')
    return etag or ' '.join(headers.get(key, '') for key in ('Last-Modified', 'Content-Length'))


def _choose_version(url: str, cache: Path) -> Path:
    """Return the path of the version to use: the server's, or the newest in the cache."""
    name = os.path.basename(urlparse(url).path)[-MAX_NAME:] or 'checkpoint'
    key = _shorten_hash(url)
    known = [path for path in cache.glob(f'{key}-*/*') if path.name == name]
    known.sort(key=lambda path: path.stat().st_mtime)
    try:
        version = ask_version(url)
    except (OSError, HTTPException) as error:
        if known:
            print_log(
                f'{url}: the server cannot be asked whether the file has changed ({error}); using '
                f'the download {known[-1]}',
                logger='current',
                level=logging.WARNING,
            )
            return known[-1]
        version = ''
    path = cache / f'{key}-{_shorten_hash(version)}' / name
    if known and path not in known:
        print_log(
            f'{url}: the file has changed since its last download ({known[-1]}); downloading it '
            'again',
            logger='current',
            level=logging.WARNING,
        )
    return path


def _shorten_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fetch(url: str, path: Path) -> None:
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
    except (OSError, HTTPException) as error:
        raise FileAccessError(
            f'{url}: got {error!r} from the download, expected a checkpoint; correct the address, '
            'or download the file yourself and give its path'
        ) from error
