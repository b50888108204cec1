"""Where on a face a classifier looks, as numbers: nothing here reads files or draws.

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
from dataclasses import dataclass

import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.heads import LinearClsHead
from torch import nn

from abaw_mm.models.backbones.apvit import APViT
from abaw_mm.models.necks.spatial_reserve_pooling import (
    STRIDES,
    SpatialReservePooling,
)


def activation_attention(maps: torch.Tensor) -> torch.Tensor:
    """How strongly each place answers: the mean of squares over all channels.

    Attention transfer's map of activations with p = 2, ``sum |A_c|^p``, up to a factor (Zagoruyko
    and Komodakis 2017, arXiv 1612.03928, Sec. 3.1). No class is asked for. The paper does not say
    how its Fig. 2, "the attention maps from the backbone", was made.

    Args:
        maps: (N, C, H, W).

    Returns:
        Tensor: (N, H, W), not normalised.

    >>> activation_attention(torch.tensor([1., -2., 3.]).view(1, 3, 1, 1)).item()  # 14 / 3
    4.666666507720947
    """
    return maps.square().mean(1)


def grad_cam(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Places that speak for a class (Selvaraju et al. 2017, arXiv 1610.02391, Eq. 1 and 2).

    Each channel counts by the mean over all places of its gradient; what speaks against the class
    is cut off at 0. The same as pytorch-grad-cam's ``GradCAM``, which `pip` installs only with a
    second OpenCV over the first.

    Args:
        maps: (N, C, H, W).
        gradients: (N, C, H, W), of the class's logit by the maps.

    Returns:
        Tensor: (N, H, W), not normalised.
    """
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()


def cell_contributions(pooled: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What each cell that Spatial Reserve Pooling keeps adds to a logit; exact, not estimated.

    A linear classifier on the flattened cells adds up, so that the sum over all cells and the
    class's bias are its logit.

    Args:
        pooled: (N, C, H, W), the neck's map before it is flattened, 256 channels in 3x3 cells.
        weight: (N, C * H * W), the classifier's row of the class of each sample.

    Returns:
        Tensor: (N, H, W), logits; negative where a cell speaks against the class.

    >>> cell_contributions(torch.tensor([[[[1., 2.]], [[3., 4.]]]]), torch.tensor([[1., 1, 10, 0]]))
    tensor([[[31.,  2.]]])
    """
    return (pooled * weight.view_as(pooled)).sum(1)


def cell_edges(cells: int, kernel_sizes: Sequence[int]) -> list[float]:
    """Where along one side the cells of Spatial Reserve Pooling lie.

    Cell i is made of ``k1 + k2 - 1`` neighbours of the backbone's map from number ``2 i`` on. What
    two cells share is halved here. A last row or column that none of them sees stays outside.

    Args:
        cells: Cells along the side, 3 for 7 of the backbone.
        kernel_sizes: Of the neck.

    Returns:
        list: ``cells + 1`` borders, in cells of the backbone's map.

    >>> cell_edges(3, (2, 2)), cell_edges(2, (2, 2))  # of 7 (224 pixels) and of 5 (160 pixels)
    ([0, 2.5, 4.5, 7], [0, 2.5, 5])
    """
    step = STRIDES[0] * STRIDES[1]
    width = kernel_sizes[0] + (kernel_sizes[1] - 1) * STRIDES[0]
    inner = [((i - 1) * step + width + i * step) / 2 for i in range(1, cells)]
    return [0, *inner, (cells - 1) * step + width]


def scaled_to_one(maps: torch.Tensor) -> torch.Tensor:
    """Non-negative maps (N, H, W) by the maximum of each; one that is 0 everywhere stays so.

    >>> scaled_to_one(torch.tensor([[[1., 4.]], [[0., 0.]]])).tolist()
    [[[0.25, 1.0]], [[0.0, 0.0]]]
    """
    top = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(top > 0, top, torch.ones_like(top))


@dataclass
class AttentionMaps:
    """What :func:`attention_maps` finds for N images. None: the model has no such map.

    Attributes:
        scores (Tensor): (N, K) probabilities.
        classes (Tensor): (N, ) int64, the class that ``grad_cam`` and ``cells`` are of.
        attention (Tensor | None): (N, H, W), :func:`activation_attention` of the backbone; of a
            ViT before its last LayerNorm.
        own (Tensor | None): (N, H, W), APViT's ``attention_map``, by which it chooses patches.
        grad_cam (Tensor | None): (N, H, W), :func:`grad_cam`.
        cells (Tensor | None): (N, h, w), :func:`cell_contributions`.
        edges (tuple | None): Borders of the cells, from above and from the left, as parts of the
            image's height and width.
        absent (dict): Why a map is None, by its name.
    """

    scores: torch.Tensor
    classes: torch.Tensor
    attention: torch.Tensor | None
    own: torch.Tensor | None
    grad_cam: torch.Tensor | None
    cells: torch.Tensor | None
    edges: tuple[list[float], list[float]] | None
    absent: dict[str, str]


def attention_maps(
    model: nn.Module, inputs: torch.Tensor, class_index: int | None = None
) -> AttentionMaps:
    """All maps of a batch that a classifier has.

    The gradient begins at the backbone's last map, which becomes a leaf: what lies before it, and
    with it every frozen stage, needs none.

    Args:
        model (nn.Module): mmpretrain's ``ImageClassifier`` in evaluation; its parameters and their
            gradients stay as they are.
        inputs: (N, 3, H, W), normalised.
        class_index (int, optional): Class to explain. Defaults to the predicted one of each image.

    Raises:
        ValueError: If images of this size do not pass the model.
    """
    backbone, neck, head = model.backbone, getattr(model, 'neck', None), model.head
    is_apvit = isinstance(backbone, APViT)
    has_norm = isinstance(backbone, VisionTransformer) and backbone.final_norm
    has_cells = isinstance(neck, SpatialReservePooling) and type(head) is LinearClsHead
    with (
        torch.enable_grad(),
        _leaf(backbone.extractor if is_apvit else backbone) as leaf,
        _kept(neck.conv2 if has_cells else None) as pooled,
        _kept(backbone.layers[-1] if has_norm else None) as tokens,
    ):
        try:
            logits = model(inputs)
        except RuntimeError as error:
            raise ValueError(
                f'images of {inputs.shape[2]}x{inputs.shape[3]} pixels do not pass the model: '
                f'{error}; expected the size that it was trained on: set the pipeline of '
                'val_dataloader.dataset, or give square images'
            ) from error
        classes = (
            logits.argmax(1)
            if class_index is None
            else torch.full((len(logits),), class_index, device=logits.device)
        )
        chosen = logits.gather(1, classes[:, None]).sum()  # in evaluation images are independent
        maps = leaf[0] if leaf else None
        gradients = None if maps is None else torch.autograd.grad(chosen, maps)[0]
    name = type(backbone).__name__
    absent = {}
    if maps is None:
        absent['attention'] = absent['grad_cam'] = f'{name} hands on a vector, no map of places'
    if not is_apvit:
        absent['own'] = 'only APViT has one'
    cells = edges = None
    if has_cells:
        cells = cell_contributions(pooled[0], head.fc.weight[classes]).detach()
        edges = tuple(
            [edge / side for edge in cell_edges(count, neck.kernel_sizes)]
            for count, side in zip(cells.shape[1:], maps.shape[2:], strict=True)
        )
    else:
        absent['cells'] = (
            f'the model has {type(neck).__name__ if neck is not None else "no neck"} and '
            f'{type(head).__name__}, cells need SpatialReservePooling and LinearClsHead'
        )
    with torch.no_grad():
        answers = maps
        if maps is not None and has_norm:  # LayerNorm makes all places of a map equally strong
            patches = tokens[0][:, backbone.num_extra_tokens :]
            answers = patches.transpose(1, 2).reshape(maps.shape)
        return AttentionMaps(
            scores=logits.detach().softmax(1),
            classes=classes,
            attention=None if maps is None else activation_attention(answers.detach()),
            own=backbone.attention_map(inputs)[:, 0] if is_apvit else None,
            grad_cam=None if maps is None else grad_cam(maps.detach(), gradients),
            cells=cells,
            edges=edges,
            absent=absent,
        )


@contextmanager
def _leaf(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Let gradients begin at the last map (N, C, H, W) that a module hands on; the list gets it."""
    found = []

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
def _kept(module: nn.Module | None) -> Iterator[list[torch.Tensor]]:
    """Keep what a module, if there is one, hands on."""
    found = []
    if module is None:
        yield found
        return
    handle = module.register_forward_hook(lambda _, __, output: found.append(output))
    try:
        yield found
    finally:
        handle.remove()
