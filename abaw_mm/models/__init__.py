"""Backbones, fusion of streams, necks, heads, losses, classifiers and data preprocessors."""

from .backbones import APViT, FrameMLP, IResNet, TemporalConvNet, WindowTransformer
from .classifiers import FrameClassifier, TemporalClassifier
from .data_preprocessors import FrameDataPreprocessor, WindowDataPreprocessor
from .fusion import ConcatFusion, CrossAttentionFusion, GatedFusion
from .heads import ActionUnitHead, MultiTrackHead, ValenceArousalHead
from .losses import ContraWarpingLoss, LogitAdjustedLoss, SoftmaxFocalLoss
from .necks import SpatialReservePooling
from .selfsup import ContraWarping, RandomLocalWarp

__all__ = [
    'APViT',
    'ActionUnitHead',
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
    'MultiTrackHead',
    'RandomLocalWarp',
    'SoftmaxFocalLoss',
    'SpatialReservePooling',
    'TemporalClassifier',
    'TemporalConvNet',
    'ValenceArousalHead',
    'WindowDataPreprocessor',
    'WindowTransformer',
]
