"""Backbones, necks, losses, classifiers, data preprocessors and self-supervised models."""

from .backbones import APViT, IResNet, TemporalConvNet
from .classifiers import FrameClassifier, TemporalClassifier
from .data_preprocessors import FrameDataPreprocessor, WindowDataPreprocessor
from .losses import ContraWarpingLoss
from .necks import SpatialReservePooling
from .selfsup import ContraWarping, RandomLocalWarp

__all__ = [
    'APViT',
    'ContraWarping',
    'ContraWarpingLoss',
    'FrameClassifier',
    'FrameDataPreprocessor',
    'IResNet',
    'RandomLocalWarp',
    'SpatialReservePooling',
    'TemporalClassifier',
    'TemporalConvNet',
    'WindowDataPreprocessor',
]
