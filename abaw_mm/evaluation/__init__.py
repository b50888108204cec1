"""From scores of frames to metrics, predictions files and submissions."""

from .metrics import DumpPredictions, FrameMetric, MacroF1
from .predictions import Predictions

__all__ = ['DumpPredictions', 'FrameMetric', 'MacroF1', 'Predictions']
