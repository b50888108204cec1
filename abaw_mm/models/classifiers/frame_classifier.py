"""mmpretrain's image classifier for batches of frames."""

from contextlib import nullcontext

import torch
from mmengine.utils import apply_to
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from abaw_mm.checks import check_arguments
from abaw_mm.compat.cpu import amp_dtype
from abaw_mm.models.classifiers.predict_columns import predict_columns
from abaw_mm.structures import FrameBatch


@MODELS.register_module()
class FrameClassifier(ImageClassifier):
    """Faster ``ImageClassifier`` with the same checkpoints.

    - Weights and feature maps use the channels_last memory format, which is faster for
      convolutions.
    - Scores are computed in mixed precision on devices where it is faster.
    - A ``FrameBatch`` is scored as one object. Lists of data samples work as in
      ``ImageClassifier``.

    Args:
        *args: Arguments of ``ImageClassifier``.
        **kwargs: Arguments of ``ImageClassifier``.
        mixed_precision (bool): Whether to compute scores in the type of :func:`amp_dtype`. The
            optimizer wrapper decides in training (``AutoAmpOptimWrapper``). Defaults to True.
    """

    @check_arguments('model')
    def __init__(self, *args: object, mixed_precision: bool = True, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.mixed_precision = mixed_precision
        self.to(memory_format=torch.channels_last)

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck') -> object:
        """Extract features as ``ImageClassifier`` does.

        Args:
            inputs (Tensor): (N, C, H, W).
            stage (str): ``'backbone'``, ``'neck'`` or ``'pre_logits'``. Defaults to ``'neck'``.
        """
        return super().extract_feat(inputs.contiguous(memory_format=torch.channels_last), stage)

    def loss(self, inputs: torch.Tensor, data_samples: list) -> dict:
        """Compute the head's loss, on features in the dtype of the head.

        Heads that switch mixed precision off, such as ``ArcFaceClsHead``, need them. In others the
        first layer casts them back, without a change.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (list): One ``FrameBatch``, or mmpretrain's data samples.
        """
        weight = next(self.head.parameters(), inputs)
        feats = apply_to(self.extract_feat(inputs), torch.is_tensor, lambda x: x.to(weight.dtype))
        return self.head.loss(feats, data_samples)

    def predict(
        self, inputs: torch.Tensor, data_samples: list | None = None, **kwargs: object
    ) -> list:
        """Score a batch.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (list, optional): One ``FrameBatch``, or mmpretrain's data samples.

        Returns:
            list: The same samples with scores and labels. ``pred_score`` of a ``FrameBatch`` is
            (N, K), ``pred_label`` is (N, ). Heads of other tracks set ``pred_va`` and ``pred_au``.
        """
        feats = self._extract_feat_mixed(inputs)
        if not data_samples or not isinstance(data_samples[0], FrameBatch):
            return self.head.predict(feats, data_samples, **kwargs)
        data_samples[0].set_predictions(predict_columns(self.head, feats))
        return data_samples

    def _extract_feat_mixed(self, inputs: torch.Tensor) -> object:
        """Extract features in mixed precision and return them as float32."""
        # Respect an explicit dtype or an outer autocast.
        mixed = self.mixed_precision and inputs.dtype == torch.float32
        dtype = amp_dtype(inputs.device) if mixed else None
        context = nullcontext() if dtype is None else torch.autocast(inputs.device.type, dtype)
        with context:
            feats = self.extract_feat(inputs)
        if dtype is None:
            return feats
        # bfloat16 has too few digits to rank close scores.
        return apply_to(feats, torch.is_tensor, torch.Tensor.float)
