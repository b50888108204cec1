"""mmpretrain's image classifier for windows of frames."""

from typing import Any

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from abaw_mm.checks import check_arguments
from abaw_mm.structures import FrameBatch


@MODELS.register_module()
class TemporalClassifier(ImageClassifier):
    """Classify each frame of a window with a temporal backbone and an ordinary head.

    The backbone maps features (N, W, D) and a mask ``seen`` (N, W) to (N, W, C). The head and its
    loss receive one row per scored frame, so any classification head of mmpretrain can be used.

    Args:
        **kwargs: Arguments of ``ImageClassifier``.
    """

    @check_arguments('model')
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def extract_feat(
        self, inputs: torch.Tensor, batch: FrameBatch | None = None
    ) -> tuple[torch.Tensor]:
        """Compute the features of the scored frames, (F, C), in a tuple as heads expect.

        Args:
            inputs (Tensor): (N, W, D).
            batch (FrameBatch, optional): Batch with ``seen`` (N, W) bool and ``place`` (F, ) int64,
                positions among the N * W frames. By default all frames are seen and scored.
        """
        seen = None if batch is None else batch.seen
        features = self.backbone(inputs, seen).flatten(0, 1)
        return (features if batch is None else features[batch.place],)

    def loss(self, inputs: torch.Tensor, data_samples: list[FrameBatch]) -> dict:
        """Compute the head's loss over the scored frames."""
        return self.head.loss(self.extract_feat(inputs, data_samples[0]), data_samples)

    def predict(
        self, inputs: torch.Tensor, data_samples: list[FrameBatch], **kwargs: object
    ) -> list[FrameBatch]:
        """Set ``pred_score`` (F, C) and ``pred_label`` (F, ) of the ``FrameBatch``."""
        features = self.extract_feat(inputs, data_samples[0])
        data_samples[0].set_scores(self.head(features).softmax(dim=1))
        return data_samples
