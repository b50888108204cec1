"""Networks as they are exported: from crops or windows of features to predictions."""

from collections.abc import Sequence

import torch
from mmpretrain.models import ImageClassifier
from torch import nn

from abaw_mm.models.classifiers.predict_columns import predict_columns
from abaw_mm.models.deploy.crop_input import CropInput, Preprocessing


class ExportedFrameNetwork(nn.Module):
    """A classifier of frames with its preprocessing: uint8 crops in, predictions out.

    Args:
        model (ImageClassifier): Classifier in evaluation mode.
        preprocessing (Preprocessing): What its test pipeline does.
        outputs (Sequence[str]): Names of the predictions, in their order.
    """

    def __init__(
        self, model: ImageClassifier, preprocessing: Preprocessing, outputs: Sequence[str]
    ) -> None:
        super().__init__()
        self.prepare = CropInput(preprocessing)
        self.model = model
        self.outputs = outputs

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map crops (N, S, S, 3) uint8 RGB to predictions, (N, K) float32 each."""
        columns = predict_columns(self.model.head, self.model.extract_feat(self.prepare(crops)))
        return tuple(columns[name].float() for name in self.outputs)


class ExportedWindowNetwork(nn.Module):
    """A classifier of windows: features and masks in, predictions of all frames out.

    Args:
        model (TemporalClassifier): Classifier in evaluation mode.
        outputs (Sequence[str]): Names of the predictions, in their order.
        streams (Sequence[str]): Names of the streams, ``['']`` for a single one without a name.
    """

    def __init__(
        self, model: ImageClassifier, outputs: Sequence[str], streams: Sequence[str]
    ) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs
        self.streams = streams

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the predictions of all frames.

        Args:
            *inputs (Tensor): For each stream, features (N, W, D) float32 and mask (N, W) bool.

        Returns:
            tuple[Tensor]: (N, W, K) float32 each. Frames that no stream has get predictions, too.
        """
        features = dict(zip(self.streams, inputs[::2], strict=True))
        seen = dict(zip(self.streams, inputs[1::2], strict=True))
        one = '' in features
        frames = self.model.compute_features(*((d[''] if one else d) for d in (features, seen)))
        columns = predict_columns(self.model.head, (frames.flatten(0, 1),))
        shape = frames.shape[:2]
        return tuple(columns[name].float().unflatten(0, shape) for name in self.outputs)
