"""An exported network and its description, run by onnxruntime."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from abaw_mm.errors import InvalidValueError, MissingFileError, MissingPackageError
from abaw_mm.files import DAMAGED, summarize
from abaw_mm.models.deploy.crop_input import Preprocessing
from abaw_mm.structures.tasks import get_targets
from abaw_mm.version import __version__

CROPS = 'crops'  # input of a network of frames
FEATURES, SEEN = 'features', 'seen'  # inputs of a network of windows, for each stream
FIX = 'export the network with tools/export_onnx.py'


@dataclass(frozen=True)
class NetworkInfo:
    """What an ONNX file says about its network, as texts in its metadata.

    Attributes:
        task (str): Track of the network.
        classes (tuple[str]): Names of the C classes; empty for the tracks without classes.
        sha256 (str): Checksum of the checkpoint.
        config (str): Name of the config.
        precision (str): ``'float32'`` or ``'int8'``.
        preprocessing (Preprocessing, optional): Steps inside a network of frames.
        sources (dict): For each stream of a network of windows, its number of features ``dim`` and
            what the checkpoint knows of their source.
        version (str): Version of abaw_mm that wrote the file.
    """

    task: str
    classes: tuple[str, ...]
    sha256: str
    config: str
    precision: str = 'float32'
    preprocessing: Preprocessing | None = None
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    version: str = __version__

    @property
    def num_classes(self) -> int | None:
        """Number of classes, None for the tracks without classes."""
        return len(self.classes) or None

    def to_metadata(self) -> dict[str, str]:
        """Return the texts to store in a file; other values than texts as JSON.

        >>> info = NetworkInfo('va', (), '0' * 64, 'res18_srp_va')
        >>> NetworkInfo.from_metadata(info.to_metadata()) == info
        True
        """
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> 'NetworkInfo':
        """Read the texts of a file; one of ``DAMAGED`` is raised if they are not those of one."""
        steps: Any = json.loads(metadata['preprocessing'])
        if steps is not None:
            steps = Preprocessing(**steps)
            steps = replace(steps, mean=tuple(steps.mean), std=tuple(steps.std))
        return cls(
            **{name: metadata[name] for name in ('task', 'sha256', 'config', 'precision')},
            classes=tuple(json.loads(metadata['classes'])),
            preprocessing=steps,
            sources=json.loads(metadata['sources']),
            version=metadata['version'],
        )


class OnnxNetwork:
    """A network that ``tools/export_onnx.py`` has written.

    Args:
        path (str): The ONNX file.
        device (str, optional): ``'cuda'`` uses a GPU, if onnxruntime has been built for it.
            Defaults to the CPU.

    Attributes:
        info (NetworkInfo): Description of the network.
        outputs (list[str]): Names of the predictions, such as ``pred_score``.

    Raises:
        MissingPackageError: If onnxruntime is not installed.
        MissingFileError: If there is no such file.
        InvalidValueError: If the file is damaged or another one, or onnxruntime has no GPU.
    """

    def __init__(self, path: str | os.PathLike, device: str | None = None) -> None:
        onnxruntime = _import_onnxruntime()
        if not Path(path).is_file():
            raise MissingFileError(f'--onnx: got {path}, expected an ONNX file; correct the path')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # torchrun's processes share cores
        try:
            self.session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=_choose_providers(onnxruntime, device)
            )
            metadata = self.session.get_modelmeta().custom_metadata_map
            self.info = NetworkInfo.from_metadata(metadata)
            self.outputs = [target.prediction for target in get_targets(self.info.task)]
            if [value.name for value in self.session.get_outputs()] != self.outputs:
                raise ValueError('other outputs than those of its track')
        except InvalidValueError:
            raise
        except Exception as error:  # onnxruntime raises direct subclasses of Exception
            is_damage = type(error).__module__.startswith('onnxruntime')
            if not is_damage and not isinstance(error, DAMAGED):
                raise
            raise InvalidValueError(
                f'--onnx: got {path}, which is no network of this package ({summarize(error)}), '
                f'expected one; {FIX}'
            ) from error
        self.path = path

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute the predictions, by name, for arrays by the name of the input.

        Raises:
            InvalidValueError: If names or shapes of the inputs are others.
        """
        self._check_inputs(inputs)
        return dict(zip(self.outputs, self.session.run(self.outputs, dict(inputs)), strict=True))

    def _check_inputs(self, inputs: Mapping[str, np.ndarray]) -> None:
        expected = {value.name: value.shape for value in self.session.get_inputs()}
        got = {name: array.shape for name, array in inputs.items()}
        fits = set(got) == set(expected) and all(
            len(got[name]) == len(shape)
            and all(not isinstance(b, int) or a == b for a, b in zip(got[name], shape, strict=True))
            for name, shape in expected.items()
        )
        if not fits:
            raise InvalidValueError(
                f'--onnx: got {_describe(got)} for {self.path}, expected {_describe(expected)}; '
                'give data of this shape, or the checkpoint instead of --onnx'
            )


def _describe(shapes: Mapping[str, Any]) -> str:
    return ', '.join(
        f'{name} ({", ".join(map(str, shape))})' for name, shape in sorted(shapes.items())
    )


def name_input(kind: str, stream: str) -> str:
    """Return the name of a stream's input.

    >>> name_input('seen', 'audio'), name_input('features', '')
    ('seen_audio', 'features')
    """
    return f'{kind}_{stream}' if stream else kind


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            f'onnxruntime cannot be imported ({error}), expected it for ONNX files; run pip '
            'install abaw_mm[onnx]'
        ) from error
    return onnxruntime


def _choose_providers(onnxruntime: Any, device: str | None) -> list[Any]:
    if not (device or 'cpu').startswith('cuda'):
        return ['CPUExecutionProvider']
    if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
        raise InvalidValueError(
            f'--device: got {device!r}, which this onnxruntime cannot use, expected cpu; or '
            'install onnxruntime-gpu'
        )
    options = dict(device_id=torch.device(str(device)).index or 0)
    return [('CUDAExecutionProvider', options), 'CPUExecutionProvider']
