"""Training and testing as the tools do, from Python."""

from .config import load_config
from .model_stats import model_stats
from .test import test
from .train import train

__all__ = ['load_config', 'model_stats', 'test', 'train']
