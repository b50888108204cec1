"""Compute maps of where on a face a classifier looks.

>>> from mmpretrain.registry import MODELS
>>> model = MODELS.build(dict(
...     type='ImageClassifier', backbone=dict(type='ResNet', depth=18, frozen_stages=4),
...     neck=dict(type='SpatialReservePooling', in_channels=512),
...     head=dict(type='LinearClsHead', num_classes=8, in_channels=2304))).eval()
>>> maps = attention_maps(model, torch.zeros(1, 3, 224, 224))
>>> maps.attention.shape, maps.grad_cam.shape, maps.cells.shape, maps.own
(torch.Size([1, 7, 7]), torch.Size([1, 7, 7]), torch.Size([1, 3, 3]), None)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.heads import LinearClsHead
from torch import nn

from abaw_mm.errors import InvalidValueError
from abaw_mm.models.backbones.apvit import APViT
from abaw_mm.models.necks.spatial_reserve_pooling import STRIDES, SpatialReservePooling


def activation_attention(maps: torch.Tensor) -> torch.Tensor:
    """Compute the mean square of the activations over all channels.

    Up to a factor, this is the activation map of attention transfer, ``sum |A_c|^p`` with p = 2
    (Zagoruyko and Komodakis 2017, arXiv 1612.03928, Sec. 3.1). It does not depend on a class. The
    paper does not say how its Fig. 2, "the attention maps from the backbone", was made.

    Args:
        maps (Tensor): (N, C, H, W) activations.

    Returns:
        Tensor: (N, H, W), not normalised.

    >>> activation_attention(torch.tensor([1., -2., 3.]).view(1, 3, 1, 1)).item()  # 14 / 3
    4.666666507720947
    """
    return maps.square().mean(1)


def grad_cam(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Compute Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, Eq. 1 and 2).

    Each channel is weighted by the spatial mean of its gradient. Evidence against the class is
    clipped at 0. The result equals pytorch-grad-cam's ``GradCAM``, which is not a dependency
    because it installs a second OpenCV over the first.

    Args:
        maps (Tensor): (N, C, H, W) activations.
        gradients (Tensor): (N, C, H, W) gradients of the class's logit.

    Returns:
        Tensor: (N, H, W), not normalised.
    """
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()


def cell_contributions(pooled: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Compute the exact contribution of each cell of Spatial Reserve Pooling to a logit.

    The classifier is linear in the flattened cells. The sum of the contributions and the bias of
    the class is the logit.

    Args:
        pooled (Tensor): (N, C, H, W) output of the neck before flattening, by default 256 channels
            in 3x3 cells.
        weight (Tensor): (N, C * H * W) weights of the classifier for the class of each sample.

    Returns:
        Tensor: (N, H, W) contributions, negative for evidence against the class.

    >>> cell_contributions(torch.tensor([[[[1., 2.]], [[3., 4.]]]]), torch.tensor([[1., 1, 10, 0]]))
    tensor([[[31.,  2.]]])
    """
    return (pooled * weight.view_as(pooled)).sum(1)


def cell_edges(cells: int, kernel_sizes: Sequence[int]) -> list[float]:
    """Compute the edges of the cells of Spatial Reserve Pooling along one side.

    Cell i depends on ``k1 + k2 - 1`` positions of the backbone's map, starting at position ``2 i``.
    Positions that two cells share are split in the middle. A last row or column that no cell
    depends on is left out.

    Args:
        cells (int): Number of cells along the side, 3 for 7 positions of the backbone.
        kernel_sizes (Sequence[int]): Kernel sizes of the neck.

    Returns:
        list: ``cells + 1`` edges, in positions of the backbone's map.

    >>> cell_edges(3, (2, 2)), cell_edges(2, (2, 2))  # 7 (224 pixels) and 5 (160 pixels) positions
    ([0, 2.5, 4.5, 7], [0, 2.5, 5])
    """
    step = STRIDES[0] * STRIDES[1]
    width = kernel_sizes[0] + (kernel_sizes[1] - 1) * STRIDES[0]
    inner = [((i - 1) * step + width + i * step) / 2 for i in range(1, cells)]
    return [0, *inner, (cells - 1) * step + width]


def normalize_maps(maps: torch.Tensor) -> torch.Tensor:
    """Divide non-negative maps (N, H, W) by their maxima; a map of zeros is unchanged.

    >>> normalize_maps(torch.tensor([[[1., 4.]], [[0., 0.]]])).tolist()
    [[[0.25, 1.0]], [[0.0, 0.0]]]
    """
    top = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(top > 0, top, torch.ones_like(top))


@dataclass
class AttentionMaps:
    """Attention maps of N images. A map that the model does not have is None.

    Attributes:
        scores (Tensor): (N, K) probabilities.
        classes (Tensor): (N,) int64 class that ``grad_cam`` and ``cells`` explain.
        attention (Tensor | None): (N, H, W) :func:`activation_attention` of the backbone, for a ViT
            before its last LayerNorm.
        own (Tensor | None): (N, H, W) ``attention_map`` of APViT, which selects patches.
        grad_cam (Tensor | None): (N, H, W) :func:`grad_cam`.
        cells (Tensor | None): (N, h, w) :func:`cell_contributions`.
        edges (tuple | None): Edges of the cells from the top and from the left, as fractions of
            the image's height and width.
        absent (dict): Name of each map that is None, and the reason.
    """

    scores: torch.Tensor
    classes: torch.Tensor
    attention: torch.Tensor | None = None
    own: torch.Tensor | None = None
    grad_cam: torch.Tensor | None = None
    cells: torch.Tensor | None = None
    edges: tuple[list[float], list[float]] | None = None
    absent: dict[str, str] = field(default_factory=dict)


def attention_maps(
    model: nn.Module, inputs: torch.Tensor, class_index: int | None = None
) -> AttentionMaps:
    """Compute all maps that a classifier supports.

    Gradients are computed only from the backbone's last map on, so that they do not depend on
    frozen stages.

    Args:
        model (nn.Module): mmpretrain's ``ImageClassifier`` in evaluation mode. Its parameters and
            their gradients do not change.
        inputs (Tensor): (N, 3, H, W) normalised images.
        class_index (int, optional): Class to explain. Defaults to the predicted class of each
            image.

    Raises:
        ValueError: If the model does not accept images of this size.
    """
    backbone: Any = model.backbone
    neck: Any = getattr(model, 'neck', None)
    head: Any = model.head
    is_apvit = isinstance(backbone, APViT)
    has_norm = isinstance(backbone, VisionTransformer) and backbone.final_norm
    has_cells = isinstance(neck, SpatialReservePooling) and type(head) is LinearClsHead
    with (
        torch.enable_grad(),
        _cut_gradients(backbone.extractor if is_apvit else backbone) as leaf,
        _capture_output(neck.conv2 if has_cells else None) as pooled,
        _capture_output(backbone.layers[-1] if has_norm else None) as tokens,
    ):
        try:
            logits = model(inputs)
        except RuntimeError as error:
            raise InvalidValueError(
                f'got images of {inputs.shape[2]}x{inputs.shape[3]} pixels, which the model does '
                f'not accept ({error}), expected the size that it was trained on; set the pipeline '
                'of val_dataloader.dataset, or give square images'
            ) from error
        if class_index is None:
            classes = logits.argmax(1)
        else:
            classes = torch.full((len(logits),), class_index, device=logits.device)
        # Images are independent in evaluation mode, so that their gradients can share one sum.
        chosen = logits.gather(1, classes[:, None]).sum()
        gradients = torch.autograd.grad(chosen, leaf[0])[0] if leaf else None
    result = AttentionMaps(scores=logits.detach().softmax(1), classes=classes)
    with torch.no_grad():
        if leaf and gradients is not None:
            maps = activations = leaf[0].detach()
            if has_norm:  # LayerNorm gives all positions the same norm
                patches = tokens[0][:, backbone.num_extra_tokens :]
                activations = patches.transpose(1, 2).reshape(maps.shape)
            result.attention = activation_attention(activations)
            result.grad_cam = grad_cam(maps, gradients)
        else:
            reason = f'{type(backbone).__name__} outputs a vector instead of a map'
            result.absent.update(attention=reason, grad_cam=reason)
        if is_apvit:
            result.own = backbone.attention_map(inputs)[:, 0]
        else:
            result.absent['own'] = 'only APViT has it'
        if has_cells:
            result.cells = cell_contributions(pooled[0], head.fc.weight[classes])
            height, width = (
                [edge / side for edge in cell_edges(count, neck.kernel_sizes)]
                for count, side in zip(result.cells.shape[1:], leaf[0].shape[2:], strict=True)
            )
            result.edges = height, width
        else:
            result.absent['cells'] = (
                f'the model has {type(neck).__name__ if neck is not None else "no neck"} and '
                f'{type(head).__name__}, cells need SpatialReservePooling and LinearClsHead'
            )
    return result


@contextmanager
def _cut_gradients(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Detach the last map (N, C, H, W) that a module outputs, and yield a list that receives it."""
    found: list[torch.Tensor] = []

    def cut(_: nn.Module, __: tuple, maps: Sequence[torch.Tensor]) -> tuple | None:
        last = maps[-1]
        if not isinstance(last, torch.Tensor) or last.dim() != 4:
            return None
        found.append(last.detach().requires_grad_())
        return (*maps[:-1], found[0])

    handle = module.register_forward_hook(cut)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def _capture_output(module: nn.Module | None) -> Iterator[list[torch.Tensor]]:
    """Yield a list that receives the output of a module, if there is one."""
    found: list[torch.Tensor] = []
    if module is None:
        yield found
        return
    handle = module.register_forward_hook(lambda _, __, output: found.append(output))
    try:
        yield found
    finally:
        handle.remove()
