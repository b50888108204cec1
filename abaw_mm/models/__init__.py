"""Necks, backbones and the weights they start from."""

from .backbones import SSLPretrained
from .classifiers import FrameClassifier
from .data_preprocessors import FrameDataPreprocessor
from .necks import SpatialReservePooling

__all__ = ['FrameClassifier', 'FrameDataPreprocessor', 'SSLPretrained', 'SpatialReservePooling']
