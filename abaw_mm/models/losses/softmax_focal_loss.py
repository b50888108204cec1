"""Focal loss of a softmax."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import at_least, check_arguments


@MODELS.register_module()
class SoftmaxFocalLoss(nn.Module):
    """Cross entropy that weighs a frame by w_y (1 - p_y)^gamma, averaged over frames.

    The focal loss of Lin et al. 2017 (arXiv 1708.02002) for one class per frame; p_y is the softmax
    of its label y. mmpretrain's ``FocalLoss`` is that of one sigmoid per class, has no weights of
    classes, and its scores are no probabilities of a softmax.

    Args:
        gamma (float): Exponent. 0 is the cross entropy. Defaults to 2.
        class_weight (Sequence[float], optional): (C,) weight w of each class. Defaults to 1.
        loss_weight (float): Weight of the loss. Defaults to 1.

    >>> loss = SoftmaxFocalLoss(gamma=2)(torch.zeros(1, 2), torch.tensor([0]))
    >>> round(loss.item(), 4)  # 0.5 ** 2 * log(2)
    0.1733
    """

    @check_arguments(
        'model.head.loss', gamma=at_least(0), class_weight=at_least(0), loss_weight=at_least(0)
    )
    def __init__(
        self,
        gamma: float = 2.0,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.class_weight = class_weight
        self.loss_weight = loss_weight

    def forward(
        self, score: torch.Tensor, label: torch.Tensor, avg_factor: float | None = None
    ) -> torch.Tensor:
        """Compute the loss.

        Args:
            score (Tensor): (F, C) logits.
            label (Tensor): (F, ) int64.
            avg_factor (float, optional): Divisor of the sum. Defaults to F.
        """
        log_p = score.log_softmax(dim=1).gather(1, label[:, None])[:, 0]
        # The power of 0 has no finite derivative if gamma < 1.
        miss = (-log_p.expm1()).clamp(min=torch.finfo(log_p.dtype).eps)  # 1 - p, exact near p = 1
        loss = -(miss**self.gamma) * log_p
        if self.class_weight is not None:
            loss = loss * loss.new_tensor(self.class_weight)[label]
        return self.loss_weight * loss.sum() / (len(label) if avg_factor is None else avg_factor)
