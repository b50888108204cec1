from .spatial_reserve_pooling import SpatialReservePooling

__all__ = ['SpatialReservePooling']
