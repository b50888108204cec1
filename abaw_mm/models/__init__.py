"""Backbones, fusion of streams, necks, heads, losses, classifiers and data preprocessors."""

from .backbones import APViT, FrameMLP, IResNet, TemporalConvNet, WindowTransformer
from .classifiers import FrameClassifier, TemporalClassifier
from .data_preprocessors import (
    FaceViewDataPreprocessor,
    FrameDataPreprocessor,
    RawCropDataPreprocessor,
    WindowDataPreprocessor,
)
from .deploy import OnnxClassifier
from .fusion import ConcatFusion, CrossAttentionFusion, GatedFusion
from .heads import ActionUnitHead, MultiTrackHead, ValenceArousalHead
from .losses import ContraWarpingLoss, LogitAdjustedLoss, SoftmaxFocalLoss
from .necks import SpatialReservePooling
from .selfsup import ContraWarping, RandomLocalWarp, RandomMuscleWarp

__all__ = [
    'APViT',
    'ActionUnitHead',
    'ConcatFusion',
    'ContraWarping',
    'ContraWarpingLoss',
    'CrossAttentionFusion',
    'FaceViewDataPreprocessor',
    'FrameClassifier',
    'FrameDataPreprocessor',
    'FrameMLP',
    'GatedFusion',
    'IResNet',
    'LogitAdjustedLoss',
    'MultiTrackHead',
    'OnnxClassifier',
    'RandomLocalWarp',
    'RandomMuscleWarp',
    'RawCropDataPreprocessor',
    'SoftmaxFocalLoss',
    'SpatialReservePooling',
    'TemporalClassifier',
    'TemporalConvNet',
    'ValenceArousalHead',
    'WindowDataPreprocessor',
    'WindowTransformer',
]
