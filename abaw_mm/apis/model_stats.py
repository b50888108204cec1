"""Parameters and FLOPs of the model of a config."""

from collections.abc import Sequence

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis.jit_handles import get_shape
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

PARTS = ('backbone', 'neck', 'head')


def input_size(cfg: Config) -> tuple[int, int]:
    """Height and width in pixels of the images that a config feeds its model.

    It is what the test pipeline ends with, or the training pipeline where nothing is tested
    (pre-training), or the crops of a ``FrameDataPreprocessor``.

    Raises:
        ValueError: If nothing there sets a size.
    """
    loader = cfg.get('test_dataloader') or cfg.get('train_dataloader') or {}
    size = _last_size(loader.get('dataset', {}).get('pipeline', []))
    size = (cfg.get('data_preprocessor') or {}).get('crop_size', size)
    if size is None:
        raise ValueError(
            'got a config whose pipeline and data preprocessor set no size, expected a CenterCrop, '
            'Resize, ResizeEdge or RandomResizedCrop; give --shape HEIGHT WIDTH'
        )
    return (size, size) if isinstance(size, int) else tuple(size)


def _last_size(steps: object) -> int | tuple[int, int] | None:
    """(H, W) or side that the last resizing step of a pipeline leaves; views count as steps."""
    size = None
    for step in steps if isinstance(steps, (list, tuple)) else []:
        if isinstance(step, (list, tuple)):
            found = _last_size(step)
        elif step.get('type') == 'Resize':
            scale = step['scale']
            found = scale if isinstance(scale, int) else (scale[1], scale[0])  # mmcv: (W, H)
        elif step.get('type') in ('ResizeEdge', 'RandomResizedCrop'):
            found = step['scale']
        elif step.get('type') in ('CenterCrop', 'RandomCrop'):
            found = step['crop_size']
        else:
            found = _last_size(step.get('transforms'))
        size = size if found is None else found
    return size


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Parameters of a module that are trained, and all.

    >>> count_parameters(nn.Linear(3, 2).requires_grad_(False)), count_parameters(nn.Linear(3, 2))
    ((0, 8), (8, 8))
    """
    sizes = [(p.numel() if p.requires_grad else 0, p.numel()) for p in module.parameters()]
    return sum(trained for trained, _ in sizes), sum(total for _, total in sizes)


def attention_flops(inputs: Sequence, outputs: Sequence) -> int:
    """Both products of ``scaled_dot_product_attention``, which mmengine holds for free.

    Queries (..., L, E) meet keys (..., S, E), and their (..., L, S) meets the values' columns.
    """
    query, key, value = (get_shape(tensor) for tensor in inputs[:3])
    pairs = key[-2]
    for side in query[:-1]:
        pairs *= side
    return pairs * (query[-1] + value[-1])


def model_stats(cfg: Config, shape: tuple[int, int] | None = None) -> dict:
    """Count the parameters and the FLOPs of a config's model.

    A FLOP is a multiplication with its addition (a MAC), as mmengine's analysis and OpenMMLab's
    tables have it: ResNet-18 at 224x224 pixels has 1.8 G. They are those of one image through
    the network in evaluation: a classifier's scores, or the backbone of a model that pre-trains.
    Frozen stages count: images pass them, too. Nothing is downloaded or read from a checkpoint.

    Args:
        cfg (Config): With ``model``, and a pipeline or ``shape``.
        shape (tuple, optional): Height and width of the image in pixels. Defaults to
            :func:`input_size`.

    Returns:
        dict: ``shape`` (H, W), ``trainable`` and ``total`` parameters, ``flops``, and ``parts``:
        the same three of backbone, neck and head.

    Raises:
        ValueError: If the size is unknown, or the model does not take it.
    """
    shape = shape or input_size(cfg)
    options = dict(cfg.model)
    options.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(options)
    trainable, total = count_parameters(model)
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, *shape))
    except RuntimeError as error:
        raise ValueError(
            f'an image of {shape[0]}x{shape[1]} pixels does not pass the model: {error}; set '
            'model.head.in_channels to the width of the flat map, or give --shape HEIGHT WIDTH'
        ) from error
    flops = FlopAnalyzer(model, (torch.zeros(1, 3, *shape),))
    flops.set_op_handle('aten::scaled_dot_product_attention', attention_flops)
    # The analysis warns of each operator that it holds for free, such as additions and ReLU.
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    flops.tracer_warnings('none')
    parts = {}
    for name in PARTS:
        module = getattr(model, name, None)
        if module is not None:
            own = count_parameters(module)
            parts[name] = dict(trainable=own[0], total=own[1], flops=int(flops.by_module()[name]))
    return dict(
        shape=list(shape), trainable=trainable, total=total, flops=int(flops.total()), parts=parts
    )
