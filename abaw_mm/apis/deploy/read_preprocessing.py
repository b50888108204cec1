"""Read from a config what its test pipeline does to square crops."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmpretrain.registry import MODELS

from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.errors import InvalidValueError
from abaw_mm.models import FrameDataPreprocessor
from abaw_mm.models.deploy.crop_input import Preprocessing
from abaw_mm.video.face_template import ARCFACE

LOADERS = ('LoadFaceCrop', 'LoadImageFromFile')
RESIZE = dict(interpolation='bilinear', backend='cv2')  # the way that can be exported


def is_of_frames(cfg: Config) -> bool:
    """Return whether a config's test pipeline loads single frames."""
    return _get_pipeline(cfg)[0].get('type') in LOADERS


def read_preprocessing(cfg: Config, size: int = ARCFACE.size) -> Preprocessing:
    """Read what a config's test pipeline and data preprocessor do to crops.

    Args:
        cfg (Config): Config of a classifier of frames.
        size (int): Side of the crops, in pixels. Defaults to 112, that of the official crops.

    Raises:
        InvalidValueError: If a step is none of those that can be exported.
    """
    options = dict((cfg.get('model') or {}).get('data_preprocessor') or cfg.data_preprocessor or {})
    options.setdefault('type', 'ClsDataPreprocessor')
    with convert_config_errors(cfg.filename):
        module: Any = MODELS.build(options)
    resize, crop = _follow_steps(cfg, _get_pipeline(cfg)[1:], size)
    if isinstance(module, FrameDataPreprocessor):
        if (resize, crop) != (size, size):
            raise _make_error(cfg, 'a resizing step before FrameDataPreprocessor', 'no such step')
        resize, crop = module.resize_edge, module.crop_size
    elif options['type'] != 'ClsDataPreprocessor':
        raise _make_error(cfg, options['type'], 'FrameDataPreprocessor or ClsDataPreprocessor')
    elif crop % module.pad_size_divisor:
        raise _make_error(cfg, f'pad_size_divisor={module.pad_size_divisor}', 'no padding')
    mean, std = (
        tuple(getattr(module, name).flatten().tolist()) if hasattr(module, name) else (default,)
        for name, default in (('mean', 0.0), ('std', 1.0))
    )
    repeats = 3 // len(mean)
    return Preprocessing(size, resize, crop, mean * repeats, std * repeats, module.to_rgb)


def _get_pipeline(cfg: Config) -> Sequence[Mapping]:
    loader = cfg.get('test_dataloader') or {}
    return loader.get('dataset', {}).get('pipeline') or [{}]


def _follow_steps(cfg: Config, steps: Sequence[Mapping], size: int) -> tuple[int, int]:
    """Return the sides to which square crops are resized and cut."""
    resize = crop = size
    for step in steps:
        kind, rest = step['type'], {k: v for k, v in step.items() if k != 'type'}
        if kind == 'PackInputs':
            continue
        if kind == 'CenterCrop' and set(rest) == {'crop_size'}:
            crop = min(_to_side(cfg, rest['crop_size']), crop)
            continue
        scale = rest.pop('scale', None)
        rest.pop('edge', None)  # all edges of a square are equal
        is_plain = all(RESIZE.get(name) == value for name, value in rest.items())
        if kind not in ('ResizeEdge', 'Resize') or not is_plain or (resize, crop) != (size, size):
            raise _make_error(
                cfg, dict(step), 'one ResizeEdge or Resize with bilinear OpenCV, then CenterCrop'
            )
        resize = crop = _to_side(cfg, scale)
    return resize, crop


def _to_side(cfg: Config, size: Any) -> int:
    sides = {size} if isinstance(size, int) else set(size or ())
    if len(sides) != 1:
        raise _make_error(cfg, f'the size {size!r}', 'a square')
    return sides.pop()


def _make_error(cfg: Config, got: object, expected: str) -> InvalidValueError:
    return InvalidValueError(
        f'{cfg.filename}: got {got} in the test pipeline, expected {expected}, which an ONNX file '
        'can hold; change test_dataloader.dataset.pipeline or data_preprocessor'
    )
