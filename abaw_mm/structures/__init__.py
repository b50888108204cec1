"""What travels between model and metrics."""

from .frame_batch import FrameBatch

__all__ = ['FrameBatch']
