"""Training and testing as the tools do, from Python; and what makes tools of them."""

from .config import load_config
from .extract_features import extract_features
from .model_stats import model_stats
from .tell_errors import tell_errors
from .test import test
from .tool_parser import ToolParser
from .train import train

__all__ = [
    'ToolParser',
    'extract_features',
    'load_config',
    'model_stats',
    'tell_errors',
    'test',
    'train',
]
