"""Hooks that check a run before and while it trains, and mixed precision by device."""

from .auto_amp_optim_wrapper import auto_amp_optim_wrapper
from .hooks import (
    CollapseHook,
    ExportBackboneHook,
    FeatureSourceHook,
    FeatureWidthHook,
    FrameBatchHook,
    PretrainedBackboneHook,
    ProbeHook,
    ResumeHook,
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
    'ResumeHook',
    'StrictCheckpointHook',
    'SyncBNStatisticsHook',
    'UnreadableFramesHook',
    'auto_amp_optim_wrapper',
]
