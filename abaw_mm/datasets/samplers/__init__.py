"""Samplers of the frames of an epoch."""

from .frame_stride import FrameStrideSampler

__all__ = ['FrameStrideSampler']
