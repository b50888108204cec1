"""Hooks of training and testing, registered in mmpretrain."""

from .class_frequency_hook import ClassFrequencyHook
from .collapse_hook import CollapseHook
from .export_backbone_hook import ExportBackboneHook
from .feature_source_hook import FeatureSourceHook
from .feature_width_hook import FeatureWidthHook
from .frame_batch_hook import FrameBatchHook
from .frame_visualization_hook import FrameVisualizationHook
from .pretrained_backbone_hook import PretrainedBackboneHook
from .probe_hook import ProbeHook
from .strict_checkpoint_hook import StrictCheckpointHook
from .sync_bn_statistics_hook import SyncBNStatisticsHook
from .unreadable_frames_hook import UnreadableFramesHook

__all__ = [
    'ClassFrequencyHook',
    'CollapseHook',
    'ExportBackboneHook',
    'FeatureSourceHook',
    'FeatureWidthHook',
    'FrameBatchHook',
    'FrameVisualizationHook',
    'PretrainedBackboneHook',
    'ProbeHook',
    'StrictCheckpointHook',
    'SyncBNStatisticsHook',
    'UnreadableFramesHook',
]
