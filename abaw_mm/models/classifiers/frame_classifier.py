"""mmpretrain's classifier, made fast for frozen stages and batches of frames."""

from contextlib import nullcontext

import torch
from mmengine.utils import apply_to
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from abaw_mm.compat.cpu import amp_dtype
from abaw_mm.models.backbones.folded_forward import folded_forward
from abaw_mm.structures import FrameBatch


@MODELS.register_module()
class FrameClassifier(ImageClassifier):
    """``ImageClassifier`` with the same parameters and checkpoints, and less to compute.

    - What is fixed in the backbone, its frozen stages in training and all of it in evaluation, runs
      with its BN folded into its convolutions (:func:`folded_forward`).
    - Weights and maps lie in memory as convolutions like them (channels_last).
    - A ``FrameBatch`` is scored at once, without an object a frame. Lists of data samples are
      predicted as in ``ImageClassifier``.

    Args:
        *args, **kwargs: As for ``ImageClassifier``.
        fold (bool): Fold BN where it is fixed. Defaults to True.
        mixed_precision (bool): Score in bfloat16 or float16 where the device is faster in it
            (:func:`amp_dtype`). For training it is the optimizer wrapper that decides
            (``AutoAmpOptimWrapper``). Defaults to True.
        compile (bool | dict): Compile the backbone with ``torch.compile``, and these arguments. It
            takes a minute at the start, and needs a C++ compiler on the CPU. Defaults to False.
    """

    def __init__(
        self,
        *args: object,
        fold: bool = True,
        mixed_precision: bool = True,
        compile: bool | dict = False,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fold = fold
        self.mixed_precision = mixed_precision
        # nn.Module has a method of the name `compile`
        self.compile_cfg = {} if compile is True else compile or None
        self.to(memory_format=torch.channels_last)

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck') -> object:
        """Features of a batch, as in ``ImageClassifier``.

        Args:
            inputs (Tensor): (N, C, H, W).
            stage (str): ``'backbone'``, ``'neck'`` or ``'pre_logits'``. Defaults to ``'neck'``.
        """
        if not self.fold:
            return super().extract_feat(inputs, stage)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        x = folded_forward(self.backbone, inputs, self.compile_cfg)
        if stage != 'backbone' and self.with_neck:
            x = self.neck(x)
        return self.head.pre_logits(x) if stage == 'pre_logits' else x

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
        # A model in another type, and who asks for autocast otherwise, shall have it so.
        mixed = self.mixed_precision and inputs.dtype == torch.float32
        dtype = amp_dtype(inputs.device) if mixed else None
        context = nullcontext() if dtype is None else torch.autocast(inputs.device.type, dtype)
        with context:
            feats = self.extract_feat(inputs)
        if dtype is not None:  # scores are too close for bfloat16
            feats = apply_to(feats, torch.is_tensor, torch.Tensor.float)
        if not data_samples or not isinstance(data_samples[0], FrameBatch):
            return self.head.predict(feats, data_samples, **kwargs)
        data_samples[0].set_scores(self.head(feats).softmax(dim=1))
        return data_samples
