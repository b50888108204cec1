"""Necks between backbone and head."""

from .spatial_reserve_pooling import SpatialReservePooling

__all__ = ['SpatialReservePooling']
