"""Read and decode one crop, whole or not at all."""

import io

import numpy as np
import simplejpeg
from mmcv.transforms import BaseTransform
from mmengine.fileio import get
from mmpretrain.registry import TRANSFORMS
from PIL import Image

JPEG = b'\xff\xd8'  # first bytes of a JPEG file


class UnreadableFrameError(ValueError):
    """A crop that cannot be read or decoded whole; names the file."""


def decode_crop(data: bytes) -> np.ndarray:
    """Decode an image file in memory, (H, W, 3) uint8 in BGR, the order of mmcv.

    OpenCV makes a wrong picture of damaged data and raises nothing; here it is an error.

    Raises:
        ValueError: If the file is truncated, damaged or no image.
        OSError: Likewise, from Pillow, which decodes what is no JPEG.
    """
    if data.startswith(JPEG):
        return simplejpeg.decode_jpeg(data, 'BGR', strict=True)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert('RGB'))[:, :, ::-1].copy()


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
        path = results['img_path']
        try:
            data = get(path, backend_args=self.backend_args)
            if not data:
                raise ValueError('an empty file')
            img = decode_crop(data)
        except (OSError, ValueError) as error:
            raise UnreadableFrameError(
                f'{path}: got {str(error).strip() or repr(error)}, expected a whole image; '
                'download it again (tools/misc/verify_affwild2.py --decode finds all such files), '
                "or train without them: train_dataloader.dataset.unreadable='nearest'"
            ) from error
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
