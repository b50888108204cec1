"""Self-supervised models and their augmentations."""

from .contrawarping import ContraWarping
from .local_warp import RandomLocalWarp

__all__ = ['ContraWarping', 'RandomLocalWarp']
