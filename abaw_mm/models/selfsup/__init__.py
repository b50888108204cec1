"""Self-supervised models and their augmentations."""

from .contrawarping import ContraWarping
from .local_warp import RandomLocalWarp
from .muscle_warp import RandomMuscleWarp

__all__ = ['ContraWarping', 'RandomLocalWarp', 'RandomMuscleWarp']
