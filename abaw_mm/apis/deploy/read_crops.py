"""Read crops of faces to compare and to calibrate networks with."""

import copy

import numpy as np
from mmengine.config import Config
from mmpretrain.registry import DATASETS

from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.datasets.crops.read_picture import find_pictures, read_picture
from abaw_mm.errors import InvalidValueError, MissingFileError


def read_crops(folder: str, size: int, number: int, option: str) -> np.ndarray:
    """Read crops of a folder, evenly spaced in the order of their names.

    Args:
        folder (str): Folder of pictures.
        size (int): Expected side, in pixels.
        number (int): Largest number of crops.
        option (str): Option that gives the folder, for messages.

    Returns:
        ndarray: (N, size, size, 3) uint8 RGB.

    Raises:
        MissingFileError: If there are no pictures.
        InvalidValueError: If a picture has another size or cannot be read.
    """
    paths = find_pictures([folder])
    crops = [read_picture(paths[row]) for row in take_evenly(len(paths), number)]
    for crop, row in zip(crops, take_evenly(len(paths), number), strict=True):
        _check_size(crop, size, f'{option}: {paths[row]}')
    return np.stack(crops)


def read_test_crops(cfg: Config, size: int, number: int) -> np.ndarray:
    """Read crops of a config's test set, evenly spaced; see :func:`read_crops`."""
    options = copy.deepcopy(cfg.test_dataloader.dataset)
    options.pipeline = options.pipeline[:1]
    try:
        with convert_config_errors(cfg.filename):
            dataset = DATASETS.build(options)
    except (MissingFileError, InvalidValueError) as error:
        raise type(error)(
            f'--faces: got no folder, and the test set of the config cannot be read: {error}; '
            'give a folder of crops'
        ) from error
    samples = [dataset[row] for row in take_evenly(len(dataset), number)]
    for sample in samples:
        _check_size(sample['img'], size, sample['img_path'])
    return np.stack([sample['img'][..., ::-1] for sample in samples])


def take_evenly(size: int, number: int) -> list[int]:
    """Return at most ``number`` evenly spaced positions of ``size``.

    >>> take_evenly(10, 4), take_evenly(2, 4)
    ([0, 2, 5, 7], [0, 1])
    """
    number = min(size, number)
    return [row * size // number for row in range(number)]


def _check_size(crop: np.ndarray, size: int, name: str) -> None:
    if crop.shape != (size, size, 3):
        raise InvalidValueError(
            f'{name}: got a picture of {crop.shape[1]}x{crop.shape[0]} pixels, expected the crop '
            f'of a face of {size}x{size}; cut crops with tools/predict_video.py --crops'
        )
