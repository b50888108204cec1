"""Metrics, predictions files, postprocessing and challenge submissions."""

from .metrics import CCC, ActionUnitF1, DumpPredictions, FrameMetric, MacroF1, MultiTaskScore
from .predictions import Predictions

__all__ = [
    'CCC',
    'ActionUnitF1',
    'DumpPredictions',
    'FrameMetric',
    'MacroF1',
    'MultiTaskScore',
    'Predictions',
]
