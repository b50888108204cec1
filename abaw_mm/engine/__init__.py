"""Hooks that keep a run honest: weights that load, widths that fit."""

from .hooks import (
    FeatureWidthHook,
    FrameBatchHook,
    PretrainedBackboneHook,
    StrictCheckpointHook,
    SyncBNStatisticsHook,
    UnreadableFramesHook,
)

__all__ = [
    'FeatureWidthHook', 'FrameBatchHook', 'PretrainedBackboneHook', 'StrictCheckpointHook',
    'SyncBNStatisticsHook', 'UnreadableFramesHook'
]
