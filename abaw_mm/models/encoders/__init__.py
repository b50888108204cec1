"""Frozen networks of other packages that turn faces into features.

The optional packages that this needs are installed by ``pip install abaw_mm[encoders]``.
"""

from .build_encoder import build_encoder
from .encoder import Encoder
from .view_average import ViewAverage

__all__ = ['Encoder', 'ViewAverage', 'build_encoder']
