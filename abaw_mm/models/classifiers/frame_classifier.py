"""mmpretrain's classifier for batches of frames as arrays."""

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from ...structures import FrameBatch


@MODELS.register_module()
class FrameClassifier(ImageClassifier):
    """``ImageClassifier`` that scores a ``FrameBatch`` at once, without an object a frame.

    Arguments, parameters and checkpoints are those of ``ImageClassifier``; lists of data samples
    are predicted as there.
    """

    def predict(
        self, inputs: torch.Tensor, data_samples: list | None = None, **kwargs: object
    ) -> list:
        """Scores of a batch.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (list, optional): One ``FrameBatch``, or what mmpretrain takes.

        Returns:
            list: The ``FrameBatch`` with ``pred_score`` (N, C) and ``pred_label`` (N, ), or what
            mmpretrain returns.
        """
        if not data_samples or not isinstance(data_samples[0], FrameBatch):
            return super().predict(inputs, data_samples, **kwargs)
        return self._score(self.extract_feat(inputs), data_samples)

    def _score(self, features: tuple[torch.Tensor], data_samples: list[FrameBatch]) -> list:
        """Put the scores of a batch's features into it."""
        score = self.head(features).softmax(dim=1)
        batch = data_samples[0]
        batch.set_pred_score(score)
        batch.set_field(score.argmax(dim=1), 'pred_label', dtype=torch.Tensor)
        return data_samples
