"""mmpretrain's image classifier for windows of frames."""

from collections.abc import Mapping
from typing import Any

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn import functional

from abaw_mm.checks import at_least, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.classifiers.predict_columns import predict_columns
from abaw_mm.structures import FrameBatch

Windows = torch.Tensor | dict[str, torch.Tensor]  # of one stream, or of several by name


@MODELS.register_module()
class TemporalClassifier(ImageClassifier):
    """Classify each frame of a window with a backbone over features and an ordinary head.

    The backbone maps features (N, W, D) and a mask ``seen`` (N, W) to (N, W, C). With several
    streams it is one that fuses them, such as ``GatedFusion``, and gets dicts of name to tensor. A
    neck, if any, maps (N, W, C) and the mask of frames that any stream has to (N, W, C'), as the
    backbones over one stream do. So a TCN and a transformer, or a fusion and a TCN, are a backbone
    and a neck. The head and its loss receive one row per scored frame, so any classification head
    of mmpretrain can be used.

    Args:
        r_drop (float): Weight of R-Drop (Liang et al. 2021, arXiv 2106.14448): each training batch
            is passed twice, with two draws of dropout. The loss is the mean of both, plus this
            weight times the mean of the two Kullback-Leibler divergences between their
            predictions. Defaults to 0, one pass.
        **kwargs: Arguments of ``ImageClassifier``.

    Raises:
        ValueError: If ``r_drop`` is given for a model without dropout, or for another track than
            expressions.
    """

    @check_arguments('model', r_drop=at_least(0))
    def __init__(self, *, r_drop: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.r_drop = r_drop
        if r_drop and not _has_dropout(self):
            raise InvalidValueError(
                f'TemporalClassifier: got r_drop={r_drop} for a model without dropout, whose two '
                'passes are equal; set model.backbone.dropout, or remove model.r_drop'
            )
        if r_drop and hasattr(self.head, 'predict_columns'):
            raise InvalidValueError(
                f'TemporalClassifier: got r_drop={r_drop} with {type(self.head).__name__}, '
                'expected a head of expressions, whose softmax it compares; remove model.r_drop'
            )

    def extract_feat(self, inputs: Windows, batch: FrameBatch | None = None) -> tuple[torch.Tensor]:
        """Compute the features of the scored frames, (F, C), in a tuple as heads expect.

        Args:
            inputs (Tensor | dict[str, Tensor]): (N, W, D), for each stream if there are several.
            batch (FrameBatch, optional): Batch with ``seen`` (N, W) bool and ``place`` (F, ) int64,
                positions among the N * W frames. By default all frames are seen and scored.
        """
        frames = self.compute_features(inputs, None if batch is None else batch.seen)
        features = frames.flatten(0, 1)
        return (features if batch is None else features[batch.place],)

    def compute_features(self, inputs: Windows, seen: Windows | None = None) -> torch.Tensor:
        """Compute the features (N, W, C) of all frames of windows.

        Args:
            inputs (Tensor | dict[str, Tensor]): (N, W, D), for each stream if there are several.
            seen (Tensor | dict[str, Tensor], optional): Masks (N, W) bool. Defaults to all True.
        """
        features = self.backbone(inputs, seen)
        if self.with_neck:
            if isinstance(seen, Mapping):
                seen = torch.stack(list(seen.values())).any(dim=0)
            features = self.neck(features, seen)
        return features

    def loss(self, inputs: Windows, data_samples: list[FrameBatch]) -> dict:
        """Compute the head's loss over the scored frames."""
        features = self.extract_feat(inputs, data_samples[0])
        losses = self.head.loss(features, data_samples)
        if not self.r_drop:
            return losses
        again = self.extract_feat(inputs, data_samples[0])
        for name, value in self.head.loss(again, data_samples).items():
            losses[name] = (losses[name] + value) / 2
        divergence = symmetric_divergence(self.head(features), self.head(again))
        return dict(losses, loss_r_drop=self.r_drop * divergence)

    def predict(
        self, inputs: Windows, data_samples: list[FrameBatch], **kwargs: object
    ) -> list[FrameBatch]:
        """Set ``pred_score`` (F, C) and ``pred_label`` (F, ) of the ``FrameBatch``.

        Heads of other tracks set ``pred_va`` and ``pred_au``.
        """
        features = self.extract_feat(inputs, data_samples[0])
        data_samples[0].set_predictions(predict_columns(self.head, features))
        return data_samples


def symmetric_divergence(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Compute the mean of KL(p || q) and KL(q || p) over frames, from two logits (F, C).

    >>> symmetric_divergence(torch.zeros(1, 2), torch.zeros(1, 2)).item()
    0.0
    """
    p, q = one.log_softmax(dim=1), other.log_softmax(dim=1)
    forth = functional.kl_div(q, p, reduction='batchmean', log_target=True)
    back = functional.kl_div(p, q, reduction='batchmean', log_target=True)
    return (forth + back) / 2


def _has_dropout(model: nn.Module) -> bool:
    return any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in model.modules())
