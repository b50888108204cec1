"""Read and decode one crop, or raise if the file is damaged."""

import io
import re
import struct
import zlib

import numpy as np
import simplejpeg
from mmcv.transforms import BaseTransform
from mmengine.fileio import get
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps

from abaw_mm.checks import check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.files import DAMAGED, summarize

JPEG = b'\xff\xd8'  # first bytes of a JPEG file
PNG = b'\x89PNG\r\n\x1a\n'
EXIF, ORIENTATION = b'Exif\x00\x00', 0x0112  # start of the block, tag in it
MAX_HEADER = 1 << 16  # bytes in which the block begins
FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')  # Pillow also runs PostScript
DEEP = ('I', 'F')  # first letters of Pillow's modes with more than 8 bits, which it cannot convert
MAX_PIXELS = 1 << 26  # of an image; a damaged header could ask for gigabytes


class UnreadableFrameError(InvalidValueError):
    """A crop cannot be read or decoded completely. The message names the file.

    Attributes:
        reason (str): What is wrong with the file, in a few words.
    """

    reason = ''  # not an argument: a data loader rebuilds a worker's error from its text alone


def read_crop(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Read and decode an image file.

    OpenCV returns a wrong image for damaged data; this function raises. The orientation of EXIF is
    applied, as OpenCV does.

    Args:
        path: A file, or any other path that mmengine's ``fileio`` reads, such as ``lmdb://...``.
        backend_args: As for ``fileio.get``.

    Returns:
        ndarray: (H, W, 3) uint8 in BGR, the channel order of mmcv.

    Raises:
        UnreadableFrameError: If the file is missing, empty, truncated, damaged, not an image, or
            has more than 8 bits per channel.
        OSError: If it cannot be read for another reason, such as too many open files.
    """
    try:
        data = get(path, backend_args=backend_args)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise _make_error(path, error) from error
    try:
        return _decode(data)
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise _make_error(path, error) from error


def _decode(data: bytes) -> np.ndarray:
    """Decode an image file to BGR; raises one of ``DAMAGED`` if it is not a whole image."""
    if not data:
        raise ValueError('an empty file')
    if data.startswith(JPEG):
        _check_size(*simplejpeg.decode_jpeg_header(data)[:2])
        return turn_upright(simplejpeg.decode_jpeg(data, 'BGR', strict=True), data)
    if data.startswith(PNG):
        if data[24:25] == b'\x10':  # the bit depth, in the first chunk; Pillow drops the lower 8
            raise ValueError('an image of more than 8 bits (a PNG of 16)')
        check_png(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(*image.size)
        if image.mode.startswith(DEEP):
            raise ValueError(f'an image of more than 8 bits (mode {image.mode})')
        image = ImageOps.exif_transpose(image)
        return np.asarray(image.convert('RGB'))[:, :, ::-1].copy()


def turn_upright(pixels: np.ndarray, data: bytes) -> np.ndarray:
    """Apply the orientation of a JPEG file's EXIF to its pixels, (H, W, 3) uint8."""
    if data.find(EXIF, 0, MAX_HEADER) < 0:
        return pixels
    with Image.open(io.BytesIO(data), formats=('JPEG',)) as image:
        orientation = image.getexif().get(ORIENTATION, 1)
    turned = Image.fromarray(pixels)
    turned.getexif()[ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(turned))


def _check_size(one: int, other: int) -> None:
    """Raise ValueError if an image has too many pixels for a crop."""
    if one * other > MAX_PIXELS:
        raise ValueError(f'an image of {one}x{other} pixels')


def check_png(data: bytes) -> None:
    """Raise ValueError if a chunk of a PNG differs from its checksum.

    Pillow does not compare the checksums of pixels.
    """
    at, kind = len(PNG), b''
    while kind != b'IEND':
        (length,) = struct.unpack_from('>I', data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if struct.unpack_from('>I', data, end)[0] != zlib.crc32(data[at + 4 : end]):
            raise ValueError(f'a PNG whose chunk {kind!r} differs from its checksum')
        at = end + 4


def _make_error(path: str, error: Exception) -> UnreadableFrameError:
    # Pillow's messages contain the address of the buffer.
    reason = re.sub(r' <_io.*>', '', summarize(error))
    unreadable = UnreadableFrameError(
        f'{path}: got {reason}, expected a whole image; get it again '
        '(tools/misc/verify_affwild2.py --decode finds all such crops), or train without them: '
        "train_dataloader.dataset.unreadable='nearest'"
    )
    unreadable.reason = reason
    return unreadable


@TRANSFORMS.register_module()
class LoadFaceCrop(BaseTransform):
    """Load the crop of a frame, like mmcv's ``LoadImageFromFile``, but reject damaged files.

    Decodes with simplejpeg (libjpeg-turbo; the same pixels as OpenCV), which has a strict mode.

    Required keys: ``img_path``. Added keys: ``img`` ((H, W, 3) uint8, BGR), ``img_shape``,
    ``ori_shape``. An image without a path, which mmpretrain's inferencers load themselves, is kept.

    Args:
        backend_args (dict, optional): As for mmengine's ``fileio.get``. Defaults to the backend
            that the prefix of the path selects.

    Raises:
        UnreadableFrameError: If the file is missing, empty, truncated, damaged or not an image.
    """

    @check_arguments('train_dataloader.dataset.pipeline[0]')
    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        if 'img' in results and 'img_path' not in results:
            results['img'] = np.ascontiguousarray(results['img'])  # RGB reversed to BGR is not
            return results
        img = read_crop(results['img_path'], self.backend_args)
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
