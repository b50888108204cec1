"""Necks, backbones and the weights they start from."""

from .backbones import SSLPretrained
from .necks import SpatialReservePooling

__all__ = ['SSLPretrained', 'SpatialReservePooling']
