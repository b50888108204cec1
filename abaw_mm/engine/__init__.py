"""Hooks that check a run before and during training, and mixed precision by device."""

from .auto_amp_optim_wrapper import auto_amp_optim_wrapper
from .hooks import (
    ClassFrequencyHook,
    CollapseHook,
    ExportBackboneHook,
    FeatureSourceHook,
    FeatureWidthHook,
    FrameBatchHook,
    FrameVisualizationHook,
    PretrainedBackboneHook,
    ProbeHook,
    StrictCheckpointHook,
    SyncBNStatisticsHook,
    UnreadableFramesHook,
)
from .resume import FinishValidationHook, RandomStreamsHook, ResumedConfigHook, ResumeHook
from .unwrap_model import unwrap_model

__all__ = [
    'ClassFrequencyHook',
    'CollapseHook',
    'ExportBackboneHook',
    'FeatureSourceHook',
    'FeatureWidthHook',
    'FinishValidationHook',
    'FrameBatchHook',
    'FrameVisualizationHook',
    'PretrainedBackboneHook',
    'ProbeHook',
    'RandomStreamsHook',
    'ResumeHook',
    'ResumedConfigHook',
    'StrictCheckpointHook',
    'SyncBNStatisticsHook',
    'UnreadableFramesHook',
    'auto_amp_optim_wrapper',
    'unwrap_model',
]
