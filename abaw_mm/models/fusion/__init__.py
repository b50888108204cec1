"""Models that fuse several streams of features, such as video and audio."""

from .concat_fusion import ConcatFusion
from .cross_attention_fusion import CrossAttentionFusion
from .gated_fusion import GatedFusion
from .stream_fusion import StreamFusion

__all__ = ['ConcatFusion', 'CrossAttentionFusion', 'GatedFusion', 'StreamFusion']
