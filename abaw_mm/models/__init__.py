"""Backbones, fusion of streams, necks, losses, classifiers and data preprocessors."""

from .backbones import APViT, FrameMLP, IResNet, TemporalConvNet, WindowTransformer
from .classifiers import FrameClassifier, TemporalClassifier
from .data_preprocessors import FrameDataPreprocessor, WindowDataPreprocessor
from .fusion import ConcatFusion, CrossAttentionFusion, GatedFusion
from .losses import ContraWarpingLoss, LogitAdjustedLoss, SoftmaxFocalLoss
from .necks import SpatialReservePooling
from .selfsup import ContraWarping, RandomLocalWarp

__all__ = [
    'APViT',
    'ConcatFusion',
    'ContraWarping',
    'ContraWarpingLoss',
    'CrossAttentionFusion',
    'FrameClassifier',
    'FrameDataPreprocessor',
    'FrameMLP',
    'GatedFusion',
    'IResNet',
    'LogitAdjustedLoss',
    'RandomLocalWarp',
    'SoftmaxFocalLoss',
    'SpatialReservePooling',
    'TemporalClassifier',
    'TemporalConvNet',
    'WindowDataPreprocessor',
    'WindowTransformer',
]
