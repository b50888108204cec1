"""From a network's scores to the challenge's figures."""

from .dump_predictions import DumpPredictions
from .frame_metric import FrameMetric, FrameResults
from .macro_f1 import MacroF1
from .predictions import Predictions

__all__ = ['DumpPredictions', 'FrameMetric', 'FrameResults', 'MacroF1', 'Predictions']
