"""Losses that mmpretrain does not have."""

from .class_weights import effective_number, inverse_frequency
from .contrawarping_loss import ContraWarpingLoss
from .logit_adjusted_loss import LogitAdjustedLoss
from .softmax_focal_loss import SoftmaxFocalLoss

__all__ = [
    'ContraWarpingLoss',
    'LogitAdjustedLoss',
    'SoftmaxFocalLoss',
    'effective_number',
    'inverse_frequency',
]
