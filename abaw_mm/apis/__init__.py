"""The Python API: train, test, extract features, explain."""

from .config import load_config
from .extract_features import extract_features
from .model_stats import model_stats
from .test import test
from .train import train

__all__ = ['extract_features', 'load_config', 'model_stats', 'test', 'train']
