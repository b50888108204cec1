"""Which frames an epoch trains on."""

from .frame_stride import FrameStrideSampler

__all__ = ['FrameStrideSampler']
