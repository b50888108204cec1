from .feature_width_hook import FeatureWidthHook
from .frame_batch_hook import FrameBatchHook
from .pretrained_backbone_hook import PretrainedBackboneHook
from .strict_checkpoint_hook import StrictCheckpointHook
from .sync_bn_statistics_hook import SyncBNStatisticsHook
from .unreadable_frames_hook import UnreadableFramesHook

__all__ = [
    'FeatureWidthHook', 'FrameBatchHook', 'PretrainedBackboneHook', 'StrictCheckpointHook',
    'SyncBNStatisticsHook', 'UnreadableFramesHook'
]
