"""An exported network in the place of a config's model."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.deploy.onnx_network import CROPS, FEATURES, SEEN, OnnxNetwork, name_input
from abaw_mm.structures import FrameBatch

Windows = torch.Tensor | Mapping[str, torch.Tensor]


@MODELS.register_module()
class OnnxClassifier(BaseModel):
    """Score batches with a network that ``tools/export_onnx.py`` has written.

    Its batches are those of ``RawCropDataPreprocessor`` or ``WindowDataPreprocessor``, so that
    everything after the network is the same as with the checkpoint.

    Args:
        path (str): The ONNX file.
        device (str, optional): See :class:`OnnxNetwork`.
        data_preprocessor (dict, optional): One of the two. Defaults to the one that fits.

    Attributes:
        network (OnnxNetwork): The network.
    """

    @check_arguments('model')
    def __init__(
        self,
        path: str | os.PathLike,
        device: str | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        network = OnnxNetwork(path, device)
        is_of_frames = network.info.preprocessing is not None
        kind = 'RawCropDataPreprocessor' if is_of_frames else 'WindowDataPreprocessor'
        super().__init__(data_preprocessor or dict(type=kind))
        self.network = network
        self.head: Any = network.info  # has the track and the number of classes, as heads do
        # DistributedDataParallel, of a test on several processes, refuses a model without any.
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(
        self, inputs: Any, data_samples: list | None = None, mode: str = 'predict'
    ) -> list[FrameBatch]:
        """Score a batch; the only mode is ``'predict'``."""
        if mode != 'predict' or data_samples is None:
            raise InvalidValueError(
                f'OnnxClassifier: got mode={mode!r}, expected a batch to predict; use the '
                'checkpoint for anything else'
            )
        return self.predict(inputs, data_samples)

    def predict(self, inputs: Windows, data_samples: list[FrameBatch]) -> list[FrameBatch]:
        """Set the predictions of a batch.

        Args:
            inputs (Tensor | dict[str, Tensor]): Crops (N, H, W, 3) uint8 RGB, or windows of
                features (N, W, D), for each stream if there are several.
            data_samples (list): One ``FrameBatch``.

        Raises:
            InvalidValueError: If the network takes inputs of another shape.
        """
        (batch,) = data_samples
        if self.network.info.preprocessing is not None:
            found = self.network.run({CROPS: _to_array(inputs)})
        else:
            place = batch.place.cpu().numpy()
            found = {
                name: values.reshape(-1, values.shape[-1])[place]
                for name, values in self.network.run(_name_inputs(inputs, batch.seen)).items()
            }
        batch.set_predictions(
            {n: torch.from_numpy(v).to(self.unused.device) for n, v in found.items()}
        )
        return data_samples


def _name_inputs(inputs: Windows, seen: Windows) -> dict[str, np.ndarray]:
    """Return the inputs of a network of windows by name."""
    named: dict[str, np.ndarray] = {}
    for kind, values in ((FEATURES, inputs), (SEEN, seen)):
        streams = values if isinstance(values, Mapping) else {'': values}
        named |= {name_input(kind, stream): _to_array(x) for stream, x in streams.items()}
    return named


def _to_array(tensor: Any) -> np.ndarray:
    return np.ascontiguousarray(tensor.cpu().numpy())
