"""Build an encoder from its name."""

import os
from collections.abc import Sequence
from dataclasses import replace

from abaw_mm.errors import InvalidValueError
from abaw_mm.models.encoders.encoder import Encoder
from abaw_mm.models.encoders.mmpretrain_encoder import MMPretrainEncoder
from abaw_mm.models.encoders.onnx_encoder import OnnxEncoder
from abaw_mm.models.encoders.timm_encoder import TimmEncoder

KINDS = ('timm', 'onnx', 'mmpretrain')


def build_encoder(
    name: str,
    weights: str | os.PathLike | None = None,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | None = None,
    device: str = 'cpu',
) -> Encoder:
    """Build an encoder.

    Args:
        name (str): ``timm:NAME``, ``mmpretrain:NAME`` or ``onnx:FILE``.
        weights: Path of the weights of a network by name.
        size (int, optional): Side of the input in pixels. Defaults to the network's own.
        mean (Sequence[float], optional): Of red, green and blue in 0 to 1. Defaults to the
            network's own; for ONNX, which records none, to ImageNet's.
        std (Sequence[float], optional): Likewise.
        output (str, optional): Tensor of an ONNX graph, see :class:`OnnxEncoder`.
        device (str): Where to compute.

    Raises:
        ImportError: If the package is not installed.
        FileNotFoundError: If a file does not exist.
        ValueError: If an argument is invalid, or the weights do not fit.
    """
    kind, _, rest = name.partition(':')
    if kind not in KINDS or not rest:
        raise InvalidValueError(
            f'--encoder: got {name!r}, expected timm:NAME, mmpretrain:NAME or onnx:FILE'
        )
    if (kind == 'onnx') == (weights is not None):
        raise InvalidValueError(
            f'--weights: got {weights!r} with --encoder {name}, expected a path of weights for '
            'timm and mmpretrain, and none for onnx, whose file has them'
        )
    if output is not None and kind != 'onnx':
        raise InvalidValueError(f'--output: got {output!r} with --encoder {name}, expected onnx')
    if size is not None and size < 1:
        raise InvalidValueError(f'--size: got {size}, expected at least 1 pixel')
    encoder: Encoder
    if weights is None:
        encoder = OnnxEncoder(rest, output, size, device)
    else:
        encoder = (TimmEncoder if kind == 'timm' else MMPretrainEncoder)(
            rest, weights, size, device
        )
    inputs = encoder.inputs
    encoder.inputs = replace(inputs, mean=mean or inputs.mean, std=std or inputs.std)
    return encoder
