"""Read a picture of any format and orientation, such as a photo."""

import io
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from abaw_mm.datasets.crops.load_face_crop import PNG, UnreadableFrameError, check_png, turn_upright
from abaw_mm.errors import MissingFileError
from abaw_mm.files import DAMAGED, summarize, walk_files

# Pillow runs Ghostscript for EPS, and has no decoder of its own for the others.
LEFT_OUT = ('BUFR', 'EPS', 'GRIB', 'HDF5', 'MPEG', 'WMF')
PHONE = ('.heic', '.heif')  # found in folders, so that they are reported
MAX_16 = 65535


@lru_cache
def _find_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.OPEN if name not in LEFT_OUT)


def find_pictures(sources: Iterable[str | os.PathLike]) -> list[str]:
    """List pictures.

    Args:
        sources (Iterable[str]): Files, and folders, which are searched with their subfolders for
            files with the suffix of a picture. Hidden files and folders are left out.

    Returns:
        list[str]: Paths in the order of the sources, those of a folder sorted; each once.

    Raises:
        MissingFileError: If a file or folder does not exist, or a folder has no pictures.
    """
    found: dict[str, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            pictures = sorted(filter(_is_picture, walk_files(path)))
            if not pictures:
                raise MissingFileError(
                    f'{source}: got a folder without pictures, expected files such as .jpg or '
                    '.png; name another folder'
                )
            found |= dict.fromkeys(pictures)
        elif path.is_file():
            found[str(path)] = None
        else:
            raise MissingFileError(
                f'{source}: got no such file, expected a picture or a folder of pictures; correct '
                'the path'
            )
    return list(found)


def _is_picture(path: str) -> bool:
    suffix, known = Path(path).suffix.lower(), Image.registered_extensions()
    return suffix in PHONE or known.get(suffix) in _find_formats()


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """Read the first picture of a file of any format that Pillow decodes, upright.

    Pixels of JPEG files are those of :func:`read_crop`. The orientation of EXIF is applied. 16 bits
    per channel are scaled to 8; transparent pixels are composited on white.

    Args:
        path: The file.

    Returns:
        ndarray: (H, W, 3) uint8 RGB.

    Raises:
        UnreadableFrameError: If the file cannot be read, is damaged or truncated, not a picture, or
            holds floating-point numbers.
    """
    try:
        return _decode(Path(path).read_bytes())
    except (*DAMAGED, Image.DecompressionBombError) as error:
        reason = re.sub(r' <_io.*>', '', summarize(error))
        unreadable = UnreadableFrameError(f'{path}: got {reason}, expected a whole picture')
        unreadable.reason = reason
        raise unreadable from error


def _decode(data: bytes) -> np.ndarray:
    if not data:
        raise ValueError('an empty file')
    with Image.open(io.BytesIO(data), formats=_find_formats()) as image:
        if image.format == 'JPEG' and image.mode in ('RGB', 'L'):
            return turn_upright(simplejpeg.decode_jpeg(data, 'RGB', strict=True), data)
        if data.startswith(PNG):
            check_png(data)
        image.load()
        return np.array(_convert(ImageOps.exif_transpose(image)))


def _convert(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB."""
    if image.mode == 'F':
        raise ValueError('a picture of floating-point numbers')
    if image.mode.startswith('I'):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > MAX_16:
            raise ValueError('a picture of more than 16 bits')
        image = Image.fromarray((values / (MAX_16 / 255)).round().astype(np.uint8))
    if 'A' in image.getbands() or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image)
    return image.convert('RGB')
