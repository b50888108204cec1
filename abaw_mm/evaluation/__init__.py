"""Metrics, predictions files and challenge submissions."""

from .metrics import DumpPredictions, FrameMetric, MacroF1
from .predictions import Predictions

__all__ = ['DumpPredictions', 'FrameMetric', 'MacroF1', 'Predictions']
