"""Attention maps of faces, as arrays and as pictures."""

from .attention_maps import AttentionMaps, attention_maps
from .explained_face import ExplainedFace

__all__ = ['AttentionMaps', 'ExplainedFace', 'attention_maps']
