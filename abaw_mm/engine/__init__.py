"""Hooks that keep a run honest: weights that load, widths that fit, features that differ."""

from . import mixed_precision  # noqa: F401  (registers AutoAmpOptimWrapper)
from .hooks import (
    CollapseHook,
    ExportBackboneHook,
    FeatureSourceHook,
    FeatureWidthHook,
    FrameBatchHook,
    PretrainedBackboneHook,
    ProbeHook,
    StrictCheckpointHook,
    SyncBNStatisticsHook,
    UnreadableFramesHook,
)

__all__ = [
    'CollapseHook',
    'ExportBackboneHook',
    'FeatureSourceHook',
    'FeatureWidthHook',
    'FrameBatchHook',
    'PretrainedBackboneHook',
    'ProbeHook',
    'StrictCheckpointHook',
    'SyncBNStatisticsHook',
    'UnreadableFramesHook',
]
