"""Hooks that keep a run honest: weights that load, widths that fit."""

from .hooks import (
    FeatureWidthHook,
    FrameKeyHook,
    PretrainedBackboneHook,
    StrictCheckpointHook,
    SyncBNStatisticsHook,
    UnreadableFramesHook,
)

__all__ = [
    'FeatureWidthHook', 'FrameKeyHook', 'PretrainedBackboneHook', 'StrictCheckpointHook',
    'SyncBNStatisticsHook', 'UnreadableFramesHook'
]
