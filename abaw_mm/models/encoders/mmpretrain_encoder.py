"""Networks of mmpretrain, by the names of its model zoo."""

import os
from difflib import get_close_matches
from typing import Any

import torch
from mmengine.config import Config
from mmpretrain.apis import get_model, list_models

from abaw_mm.checkpoints.load import get_loaded_sha256
from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.models.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder, Inputs


class MMPretrainEncoder(Encoder):
    """A backbone of mmpretrain: its last map, averaged over space, or its class token.

    Size and normalisation are those of the network's config. The weights are imported by
    ``SSLPretrained``, which knows the names of many frameworks.

    Args:
        name (str): Name of the network, such as ``'resnet18_8xb32_in1k'``.
        weights: Path of the weights, .pth or .safetensors. Nothing is downloaded.
        size (int, optional): Side of the input in pixels.
        device (str): Where to compute.

    Raises:
        FileNotFoundError: If the weights do not exist.
        ValueError: If mmpretrain does not know the name, or a tensor of the backbone is missing.
    """

    def __init__(
        self, name: str, weights: str | os.PathLike, size: int | None = None, device: str = 'cpu'
    ) -> None:
        if name not in list_models():
            similar = get_close_matches(name, list_models())
            raise InvalidValueError(
                f'--encoder mmpretrain:{name}: mmpretrain has no such network'
                + (f', but {shorten(similar)}' if similar else '')
                + '; list them with mmpretrain.list_models()'
            )
        model = get_model(name, pretrained=False, device=device)
        self.backbone = model.backbone
        self.backbone.init_cfg = dict(type='SSLPretrained', checkpoint=os.fspath(weights))
        self.backbone.init_weights()
        self.backbone.requires_grad_(False)
        self.backbone.eval()
        self.device = torch.device(device)
        self.takes_bgr = not (model._config.get('data_preprocessor') or {}).get('to_rgb', False)
        self.inputs = _read_inputs(model._config, size)
        self.name = f'mmpretrain:{name}'
        self.layer = 'backbone'
        self.sha256 = get_loaded_sha256(weights)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features (N, D) or maps (N, D, H, W) of inputs (N, 3, H, W)."""
        pixels = pixels.to(self.device)
        features = self.backbone(pixels.flip(1) if self.takes_bgr else pixels)
        return features[-1] if isinstance(features, (tuple, list)) else features


def _read_inputs(cfg: Config, size: int | None) -> Inputs:
    """Return the size and the normalisation of a config."""
    values: dict[str, Any] = dict(cfg.get('data_preprocessor') or {})
    scale = 255.0
    mean = values.get('mean') or [scale * v for v in IMAGENET_MEAN]
    std = values.get('std') or [scale * v for v in IMAGENET_STD]
    if not values.get('to_rgb', False):  # values are in the order of BGR
        mean, std = mean[::-1], std[::-1]
    if size is None:
        size = _read_size(cfg.test_dataloader.dataset.pipeline)
    return Inputs((size, size), tuple(v / scale for v in mean), tuple(v / scale for v in std))


def _read_size(pipeline: list) -> int:
    for step in reversed(pipeline):
        size = step.get('crop_size', step.get('scale'))
        if size is not None:
            return int(size if isinstance(size, int) else size[0])
    return 224
