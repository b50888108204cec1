"""Metrics over frames that count each frame once, on any number of processes."""

from .dump_predictions import DumpPredictions
from .frame_metric import FrameMetric
from .macro_f1 import MacroF1

__all__ = ['DumpPredictions', 'FrameMetric', 'MacroF1']
