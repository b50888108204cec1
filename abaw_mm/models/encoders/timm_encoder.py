"""Networks of the package timm."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch

from abaw_mm.checkpoints.checks.values import check_values
from abaw_mm.checkpoints.load import get_loaded_sha256, load_checkpoint_file
from abaw_mm.errors import InvalidValueError, MissingPackageError, shorten
from abaw_mm.models.encoders.encoder import Encoder, Inputs

WRAPPERS = ('state_dict', 'model', 'module')  # keys under which checkpoints keep their weights


class TimmEncoder(Encoder):
    """A network of timm without its classifier: the pooled features before it.

    Size, normalisation and interpolation are those that timm records for the name.

    Args:
        name (str): Name of the network, such as ``'vit_small_patch14_dinov2'``. A tag after a dot
            selects the recorded normalisation.
        weights: Path of the weights, .safetensors or .pth, in the names of timm or in those that
            timm converts. Nothing is downloaded.
        size (int, optional): Side of the input in pixels. Position embeddings are resized.
        device (str): Where to compute.

    Raises:
        ImportError: If timm is not installed.
        FileNotFoundError: If the weights do not exist.
        ValueError: If timm does not know the name, or a tensor is missing or has another shape.
    """

    def __init__(
        self, name: str, weights: str | os.PathLike, size: int | None = None, device: str = 'cpu'
    ) -> None:
        timm = _import_timm()
        if not timm.is_model(name.partition('.')[0]):
            similar = get_close_matches(name, timm.list_models())
            raise InvalidValueError(
                f'--encoder timm:{name}: timm {timm.__version__} has no such network'
                + (f', but {shorten(similar)}' if similar else '')
                + '; list them with timm.list_models()'
            )
        state = _unwrap(load_checkpoint_file(weights))
        self.model = _create_model(timm, name, size)
        _fill(self.model, state, f'{weights} -> timm:{name}')
        self.model.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        config = timm.data.resolve_data_config({}, model=self.model)
        height, width = config['input_size'][1:] if size is None else (size, size)
        self.inputs = Inputs(
            (height, width), tuple(config['mean']), tuple(config['std']), config['interpolation']
        )
        self.name = f'timm:{name}'
        self.layer = 'pooled features'
        self.sha256 = get_loaded_sha256(weights)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features (N, D) of inputs (N, 3, H, W)."""
        return self.model(pixels.to(self.device))


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingPackageError(
            f'timm cannot be imported ({error}), expected it for --encoder timm:NAME; run '
            'pip install abaw_mm[encoders]'
        ) from error
    return timm


def _create_model(timm: Any, name: str, size: int | None) -> Any:
    options: dict[str, Any] = dict(pretrained=False, num_classes=0)
    if size is not None:
        try:
            return timm.create_model(name, img_size=size, **options)
        except TypeError:  # a convolutional network takes any size
            pass
    return timm.create_model(name, **options)


def _unwrap(checkpoint: dict) -> dict[str, Any]:
    """Return the weights of a checkpoint, which may be in a dict of their own."""
    for key in WRAPPERS:
        if isinstance(checkpoint.get(key), dict):
            return checkpoint[key]
    return checkpoint


def _fill(model: Any, state: dict[str, Any], what: str) -> None:
    """Load weights into a network; the classifier's and other unused ones are left out."""
    convert = getattr(sys.modules[type(model).__module__], 'checkpoint_filter_fn', None)
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    if convert is not None:
        state = convert(state, model)
    wanted = model.state_dict()
    shared = {name: state[name] for name in wanted if isinstance(state.get(name), torch.Tensor)}
    lacks: Sequence[str] = [
        name for name in wanted if name not in shared or shared[name].shape != wanted[name].shape
    ]
    lacks = [name for name in lacks if not name.endswith('num_batches_tracked')]
    if lacks:
        raise InvalidValueError(
            f'{what}: got weights without {shorten(lacks)} in their shape ({len(lacks)} of '
            f'{len(wanted)} tensors), expected all; give the weights of this network, or its name'
        )
    check_values(shared, wanted, what)
    model.load_state_dict(shared, strict=False)
