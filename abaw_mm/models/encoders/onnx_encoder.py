"""Networks in ONNX files."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from abaw_mm.errors import InvalidValueError, MissingFileError, MissingPackageError, shorten
from abaw_mm.files import DAMAGED, summarize
from abaw_mm.models.encoders.encoder import Encoder, Inputs

PENULTIMATE = 'penultimate'


class OnnxEncoder(Encoder):
    """A network in one ONNX file, run by onnxruntime.

    Args:
        path: The file. Weights in files beside it are refused, since the checksum would not cover
            them.
        output (str, optional): Name of the tensor to use, any of the graph; ``'penultimate'`` for
            the input of the node that makes the first output, such as that of a classifier's last
            layer. Defaults to the first output.
        size (int, optional): Side of the input in pixels. Defaults to the size in the file.
        device (str): ``'cuda'`` uses a GPU if onnxruntime has been built for it.

    Raises:
        ImportError: If onnx or onnxruntime is not installed.
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged, takes other inputs than pictures, or lacks the output.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        output: str | None = None,
        size: int | None = None,
        device: str = 'cpu',
    ) -> None:
        onnx, onnxruntime = _import_packages()
        if not Path(path).is_file():
            raise MissingFileError(f'--encoder onnx:{path}: no such file; correct the path')
        content = Path(path).read_bytes()
        try:
            model = onnx.load_model_from_string(content)
            self.output = _choose_output(model.graph, output, path)
            self.session = onnxruntime.InferenceSession(
                model.SerializeToString(),
                providers=_choose_providers(onnxruntime, device),
            )
        except InvalidValueError:
            raise
        except Exception as error:  # onnxruntime and protobuf raise direct subclasses of Exception
            if not isinstance(error, DAMAGED) and type(error).__module__.partition('.')[0] not in (
                'onnxruntime',
                'google',
                'onnx',
            ):
                raise
            raise InvalidValueError(
                f'--encoder onnx:{path}: got a file that onnxruntime cannot run '
                f'({summarize(error)}), expected one ONNX model; export it again'
            ) from error
        source = self.session.get_inputs()[0]
        self.input = source.name
        self.channels_last, self.batch_size, found = _parse_shape(source, path)
        if size is None and found is None:
            raise InvalidValueError(
                f'--size: got none, and {path} takes any; give the one that it was trained with'
            )
        self.inputs = Inputs(found if size is None else (size, size))  # type: ignore[arg-type]
        self.name = f'onnx:{Path(path).stem}'
        self.layer = self.output
        self.sha256 = hashlib.sha256(content).hexdigest()

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features (N, D) or maps (N, D, H, W) of inputs (N, 3, H, W)."""
        array = pixels.cpu().float().numpy()
        if self.channels_last:
            array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        step = self.batch_size or len(array)
        parts = []
        for start in range(0, len(array), step):
            part = array[start : start + step]
            padding = ((0, step - len(part)), *[(0, 0)] * 3)  # a fixed batch
            (result,) = self.session.run([self.output], {self.input: np.pad(part, padding)})
            parts.append(result[: len(part)])
        return torch.from_numpy(np.concatenate(parts))


def _import_packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            f'{error.name or "onnxruntime"} cannot be imported ({error}), expected it for '
            '--encoder onnx:FILE; run pip install abaw_mm[encoders]'
        ) from error
    return onnx, onnxruntime


def _choose_providers(onnxruntime: Any, device: str) -> list[str]:
    wanted = ['CUDAExecutionProvider'] if device.startswith('cuda') else []
    return [name for name in wanted if name in onnxruntime.get_available_providers()] + [
        'CPUExecutionProvider'
    ]


def _choose_output(graph: Any, output: str | None, path: object) -> str:
    """Return the name of the tensor to use, and make it an output of the graph."""
    external = [tensor.name for tensor in graph.initializer if tensor.data_location]
    if external:
        raise InvalidValueError(
            f'{path}: got weights in another file ({shorten(external)}), expected one file; save '
            "the model with onnx.save(onnx.load('IN'), 'OUT')"
        )
    producers = {name: node for node in graph.node for name in node.output}
    known = [tensor.name for tensor in graph.output]
    if output is None:
        return known[0]
    if output == PENULTIMATE:
        output = producers[known[0]].input[0]
    if output not in producers:
        raise InvalidValueError(
            f'--output: got {output!r}, expected {PENULTIMATE!r} or a tensor of {path}: '
            f'{shorten([*known, *reversed(producers)])}'
        )
    if output not in known:
        graph.output.add().name = output  # onnxruntime infers its type and shape
    return output


def _parse_shape(source: Any, path: object) -> tuple[bool, int | None, tuple[int, int] | None]:
    """Return whether channels are last, the fixed size of a batch and that of a picture."""
    shape = source.shape
    if source.type != 'tensor(float)' or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise InvalidValueError(
            f'{path}: got an input of {source.type} {shape}, expected float pictures (N, 3, H, W) '
            'or (N, H, W, 3); export the network with such an input'
        )
    channels_last = shape[1] != 3
    height, width = shape[1:3] if channels_last else shape[2:4]
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return channels_last, shape[0] if isinstance(shape[0], int) else None, size
