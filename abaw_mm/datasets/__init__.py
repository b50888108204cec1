"""From the files of Aff-Wild2 to the frames of an epoch."""

from .affwild2 import AffWild2Dataset
from .annotations import EXPRESSIONS
from .frame_stride import FrameStrideSampler

__all__ = ['AffWild2Dataset', 'EXPRESSIONS', 'FrameStrideSampler']
