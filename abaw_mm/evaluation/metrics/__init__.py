"""Metrics over frames that count each frame once, on any number of processes."""

from .action_unit_f1 import ActionUnitF1
from .ccc import CCC
from .dump_predictions import DumpPredictions
from .frame_metric import FrameMetric
from .macro_f1 import MacroF1
from .multi_task_score import MultiTaskScore

__all__ = ['CCC', 'ActionUnitF1', 'DumpPredictions', 'FrameMetric', 'MacroF1', 'MultiTaskScore']
