"""Necks, backbones and the weights they start from; pre-training that makes such weights."""

from .backbones import APViT, IResNet, SSLPretrained
from .classifiers import FrameClassifier
from .data_preprocessors import FrameDataPreprocessor
from .losses import ContraWarpingLoss
from .necks import SpatialReservePooling
from .selfsup import ContraWarping, RandomLocalWarp

__all__ = [
    'APViT', 'ContraWarping', 'ContraWarpingLoss', 'FrameClassifier', 'FrameDataPreprocessor',
    'IResNet', 'RandomLocalWarp', 'SSLPretrained', 'SpatialReservePooling'
]
