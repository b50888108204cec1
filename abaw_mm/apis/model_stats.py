"""Count the parameters and FLOPs of a config's model."""

from collections.abc import Sequence

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis.jit_handles import get_shape
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.errors import InvalidValueError

PARTS = ('backbone', 'neck', 'head')


def find_input_size(cfg: Config) -> tuple[int, int]:
    """Find the height and width, in pixels, of the images that a config feeds to its model.

    The size is that of a ``FrameDataPreprocessor``'s crops, or of the last step of the test
    pipeline, or of the training pipeline in pre-training.

    Raises:
        InvalidValueError: If none of them sets a size.
    """
    size = _find_last_size(_get_dataset(cfg).get('pipeline', []))
    size = (cfg.get('data_preprocessor') or {}).get('crop_size', size)
    if size is None:
        raise InvalidValueError(
            'got a config whose pipeline and data preprocessor set no image size, expected a '
            'CenterCrop, Resize, ResizeEdge or RandomResizedCrop; give --shape HEIGHT WIDTH'
        )
    return (size, size) if isinstance(size, int) else tuple(size)


def _find_window(cfg: Config) -> tuple[int, ...]:
    """Return the frames of a model's windows, and the features per frame of each stream."""
    dataset = _get_dataset(cfg)
    if 'window' not in dataset:
        raise InvalidValueError(
            'got a config of a model over features without a ClipFeatureDataset, expected one that '
            'sets the frames of a window; give --shape FRAMES FEATURES'
        )
    return dataset['window'] + 2 * dataset.get('context', 0), *_get_streams(cfg).values()


def _get_streams(cfg: Config) -> dict[str, int]:
    """Return the features per frame of each stream, that of a single one without a name."""
    width = cfg.model.backbone.get('in_channels')
    return dict(width) if isinstance(width, dict) else {'': width}


def _make_window(cfg: Config, shape: Sequence[int]) -> torch.Tensor | dict[str, torch.Tensor]:
    """Make the input of a temporal model: one tensor (1, W, D), or one for each stream."""
    frames, *widths = shape
    names = _get_streams(cfg)
    if len(widths) != len(names):
        raise InvalidValueError(
            f'--shape: got {len(shape)} numbers, expected the frames of a window and the features '
            f'per frame of {len(names)} streams ({", ".join(names)}); leave --shape out'
        )
    streams = [torch.zeros(1, frames, width) for width in widths]
    return streams[0] if '' in names else dict(zip(names, streams, strict=True))


def _get_dataset(cfg: Config) -> dict:
    loader = cfg.get('test_dataloader') or cfg.get('train_dataloader') or {}
    return loader.get('dataset', {})


def _find_last_size(steps: object) -> int | tuple[int, int] | None:
    """Find the (H, W) or side that the last resizing step of a pipeline or its views sets."""
    size = None
    for step in steps if isinstance(steps, (list, tuple)) else []:
        if isinstance(step, (list, tuple)):
            found = _find_last_size(step)
        elif step.get('type') == 'Resize':
            scale = step['scale']
            found = scale if isinstance(scale, int) else (scale[1], scale[0])  # mmcv: (W, H)
        elif step.get('type') in ('ResizeEdge', 'RandomResizedCrop'):
            found = step['scale']
        elif step.get('type') in ('CenterCrop', 'RandomCrop'):
            found = step['crop_size']
        else:
            found = _find_last_size(step.get('transforms'))
        size = size if found is None else found
    return size


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Count the trainable and the total parameters of a module.

    >>> count_parameters(nn.Linear(3, 2).requires_grad_(False)), count_parameters(nn.Linear(3, 2))
    ((0, 8), (8, 8))
    """
    sizes = [(p.numel() if p.requires_grad else 0, p.numel()) for p in module.parameters()]
    return sum(trained for trained, _ in sizes), sum(total for _, total in sizes)


def count_attention_flops(inputs: Sequence, outputs: Sequence) -> int:
    """Count both matrix products of ``scaled_dot_product_attention``, which mmengine ignores.

    Queries (..., L, E) are multiplied with keys (..., S, E), and the result (..., L, S) with the
    values (..., S, V).
    """
    query, key, value = (get_shape(tensor) for tensor in inputs[:3])
    pairs = key[-2]
    for side in query[:-1]:
        pairs *= side
    return pairs * (query[-1] + value[-1])


def model_stats(cfg: Config, shape: tuple[int, ...] | None = None) -> dict:
    """Count the parameters and FLOPs of a config's model.

    A FLOP is a multiplication with its addition (a MAC), as in mmengine's analysis and OpenMMLab's
    tables: ResNet-18 has 1.8 G at 224x224 pixels. FLOPs are those of one image in evaluation, for
    the scores of a classifier or the backbone of a model that pre-trains, or of one window of a
    temporal model, with its context. They include frozen stages. Neither weights nor data are read.

    Args:
        cfg (Config): Config with ``model``, and with a pipeline unless ``shape`` is given.
        shape (tuple, optional): Height and width of the image in pixels, by default
            :func:`find_input_size`; for a temporal model frames and features per frame (of each
            stream), by default those of the test set's windows.

    Returns:
        dict: ``input``, which is ``'image'`` or ``'window'``, its ``shape``, ``trainable`` and
        ``total`` parameters, ``flops``, and ``parts``, which has the same three counts for
        backbone, neck and head.

    Raises:
        InvalidValueError: If the size is unknown, or the model does not accept it.
    """
    _check_model(cfg)
    is_temporal = cfg.model.get('type') == 'TemporalClassifier'
    shape = shape or (_find_window(cfg) if is_temporal else find_input_size(cfg))
    model = build_model(cfg)
    trainable, total = count_parameters(model)
    flops = _analyze(model, _make_window(cfg, shape) if is_temporal else torch.zeros(1, 3, *shape))
    parts = {}
    for name in PARTS:
        module = getattr(model, name, None)
        if module is not None:
            counts = count_parameters(module)
            parts[name] = dict(
                trainable=counts[0], total=counts[1], flops=int(flops.by_module()[name])
            )
    return dict(
        input='window' if is_temporal else 'image',
        shape=list(shape),
        trainable=trainable,
        total=total,
        flops=int(flops.total()),
        parts=parts,
    )


def _check_model(cfg: Config) -> None:
    if cfg.get('model') is None:
        raise InvalidValueError(
            f'{cfg.filename}: got a config without model, expected one such as '
            'configs/res18_srp_affwild2.py'
        )


def build_model(cfg: Config) -> nn.Module:
    """Build a config's model on its own, without weights.

    Raises:
        InvalidValueError: If the config has no model or it cannot be built.
    """
    _check_model(cfg)
    options = dict(cfg.model)
    options.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    with DefaultScope.overwrite_default_scope('mmpretrain'), convert_config_errors(cfg.filename):
        return MODELS.build(options).eval()


def _analyze(model: nn.Module, inputs: torch.Tensor | dict[str, torch.Tensor]) -> FlopAnalyzer:
    """Pass an image or a window through the model and count the FLOPs."""
    try:
        with torch.no_grad():
            model(inputs)
    except RuntimeError as error:
        if isinstance(inputs, dict) or inputs.dim() < 4:
            raise
        raise InvalidValueError(
            f'an image of {inputs.shape[-2]}x{inputs.shape[-1]} pixels does not fit the model: '
            f'{error}; set model.head.in_channels to the width of the flattened map, or give '
            '--shape HEIGHT WIDTH'
        ) from error
    flops = FlopAnalyzer(model, (inputs,))
    flops.set_op_handle('aten::scaled_dot_product_attention', count_attention_flops)
    # The analysis warns of each operator that it does not count, such as additions and ReLU.
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    flops.tracer_warnings('none')
    return flops
