"""mmpretrain's image classifier for batches of frames."""

from contextlib import nullcontext

import torch
from mmengine.utils import apply_to
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from abaw_mm.compat.cpu import amp_dtype
from abaw_mm.structures import FrameBatch


@MODELS.register_module()
class FrameClassifier(ImageClassifier):
    """Classify batches of frames; a faster ``ImageClassifier`` with the same checkpoints.

    - Weights and feature maps use the memory format channels_last, which suits convolutions.
    - Scores are computed in mixed precision where the device is faster in it.
    - A ``FrameBatch`` is scored as one object. Lists of data samples work as in
      ``ImageClassifier``.

    Args:
        *args, **kwargs: As for ``ImageClassifier``.
        mixed_precision (bool): Whether to compute scores in the type of :func:`amp_dtype`. In
            training the optimizer wrapper decides (``AutoAmpOptimWrapper``). Defaults to True.
    """

    def __init__(self, *args: object, mixed_precision: bool = True, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.mixed_precision = mixed_precision
        self.to(memory_format=torch.channels_last)

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck') -> object:
        """Extract the features of a batch, as ``ImageClassifier`` does.

        Args:
            inputs (Tensor): (N, C, H, W).
            stage (str): ``'backbone'``, ``'neck'`` or ``'pre_logits'``. Defaults to ``'neck'``.
        """
        return super().extract_feat(inputs.contiguous(memory_format=torch.channels_last), stage)

    def predict(
        self, inputs: torch.Tensor, data_samples: list | None = None, **kwargs: object
    ) -> list:
        """Score a batch.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (list, optional): One ``FrameBatch``, or mmpretrain's data samples.

        Returns:
            list: The ``FrameBatch`` with ``pred_score`` (N, K) and ``pred_label`` (N,), or
            mmpretrain's data samples with theirs.
        """
        # Respect an explicit dtype or an outer autocast.
        mixed = self.mixed_precision and inputs.dtype == torch.float32
        dtype = amp_dtype(inputs.device) if mixed else None
        context = nullcontext() if dtype is None else torch.autocast(inputs.device.type, dtype)
        with context:
            feats = self.extract_feat(inputs)
        if dtype is not None:  # bfloat16 has too few digits to rank close scores
            feats = apply_to(feats, torch.is_tensor, torch.Tensor.float)
        if not data_samples or not isinstance(data_samples[0], FrameBatch):
            return self.head.predict(feats, data_samples, **kwargs)
        data_samples[0].set_scores(self.head(feats).softmax(dim=1))
        return data_samples
