"""Read and decode one crop, whole or not at all."""

import io
import re

import numpy as np
import simplejpeg
from mmcv.transforms import BaseTransform
from mmengine.fileio import get
from mmpretrain.registry import TRANSFORMS
from PIL import Image

JPEG = b'\xff\xd8'  # first bytes of a JPEG file


# What simplejpeg and Pillow raise for a damaged file.
DAMAGED = (ValueError, OSError, EOFError, SyntaxError, Image.DecompressionBombError)
DEEP = ('I', 'F')  # first letters of Pillow's modes of more than 8 bits, which it cannot convert


class UnreadableFrameError(ValueError):
    """A crop that cannot be read or decoded whole; names the file.

    Attributes:
        reason (str): What is wrong with it, in few words.
    """

    reason = ''  # no argument: a data loader makes a worker's error anew from its text alone


def read_crop(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Read and decode an image file, (H, W, 3) uint8 in BGR, the order of mmcv.

    OpenCV makes a wrong picture of damaged data and raises nothing; here it is an error. Unlike
    OpenCV it leaves a picture as it lies, whatever EXIF says of the camera; crops have none.

    Args:
        path: A file, or what else mmengine's ``fileio`` reads, such as ``lmdb://...``.
        backend_args: As for ``fileio.get``.

    Raises:
        UnreadableFrameError: If the file is not there, empty, truncated, damaged, no image, or one
            of more than 8 bits.
        OSError: If it cannot be read for another reason, such as too many open files.
    """
    try:
        data = get(path, backend_args=backend_args)
    except FileNotFoundError as error:
        raise _unreadable(path, error) from error
    try:
        if not data:
            raise ValueError('an empty file')
        if data.startswith(JPEG):
            return simplejpeg.decode_jpeg(data, 'BGR', strict=True)
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith(DEEP):
                raise ValueError(f'an image of more than 8 bits (mode {image.mode})')
            return np.asarray(image.convert('RGB'))[:, :, ::-1].copy()
    except DAMAGED as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> UnreadableFrameError:
    # The address of the buffer, in Pillow's words, tells nothing.
    reason = re.sub(r' <_io.*>', '', str(error)).strip() or repr(error)
    unreadable = UnreadableFrameError(
        f'{path}: got {reason}, expected a whole image; download it again '
        '(tools/misc/verify_affwild2.py --decode finds all such files), or train without them: '
        "train_dataloader.dataset.unreadable='nearest'"
    )
    unreadable.reason = reason
    return unreadable


@TRANSFORMS.register_module()
class LoadFaceCrop(BaseTransform):
    """Load a frame's crop: mmcv's ``LoadImageFromFile``, but no half image ever passes for a face.

    simplejpeg decodes (libjpeg-turbo; the same pixels as OpenCV), as it can be told to be strict.

    Required keys: ``img_path``. Added keys: ``img`` ((H, W, 3) uint8, BGR), ``img_shape``,
    ``ori_shape``.

    Args:
        backend_args (dict, optional): As for mmengine's ``fileio.get``. Defaults to what the
            path's beginning says.

    Raises:
        UnreadableFrameError: If the file is not there, empty, truncated, damaged or no image.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        img = read_crop(results['img_path'], self.backend_args)
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
