"""Hooks that keep a run honest: weights that load, widths that fit."""

from .hooks import (
    FeatureWidthHook,
    PretrainedBackboneHook,
    StrictCheckpointHook,
    SyncBNStatisticsHook,
)

__all__ = [
    'FeatureWidthHook', 'PretrainedBackboneHook', 'StrictCheckpointHook', 'SyncBNStatisticsHook'
]
