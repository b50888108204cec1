"""mmpretrain's classifier for windows of frames."""

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from abaw_mm.structures import FrameBatch


@MODELS.register_module()
class TemporalClassifier(ImageClassifier):
    """A class for each frame of a window, by a temporal backbone and a head for frames.

    The head, its loss and the scores see one row a frame that is scored, as a head over images
    does: any classification head of mmpretrain fits. Its backbone maps (N, W, D) features and
    (N, W) ``seen`` to (N, W, C).
    """

    def extract_feat(
        self, inputs: torch.Tensor, batch: FrameBatch | None = None
    ) -> tuple[torch.Tensor]:
        """(F, C) features of the frames that are scored, in a tuple as heads take them.

        Args:
            inputs (Tensor): (N, W, D).
            batch (FrameBatch, optional): With ``seen`` (N, W) bool and ``place`` (F, ) int64, rows
                of the (N * W) places. Defaults to all places, all of them seen.
        """
        seen = None if batch is None else batch.seen
        features = self.backbone(inputs, seen).flatten(0, 1)
        return (features if batch is None else features[batch.place],)

    def loss(self, inputs: torch.Tensor, data_samples: list[FrameBatch]) -> dict:
        """The head's loss over the frames that are scored."""
        return self.head.loss(self.extract_feat(inputs, data_samples[0]), data_samples)

    def predict(
        self, inputs: torch.Tensor, data_samples: list[FrameBatch], **kwargs: object
    ) -> list[FrameBatch]:
        """The ``FrameBatch`` with ``pred_score`` (F, C) and ``pred_label`` (F, )."""
        features = self.extract_feat(inputs, data_samples[0])
        data_samples[0].set_scores(self.head(features).softmax(dim=1))
        return data_samples
