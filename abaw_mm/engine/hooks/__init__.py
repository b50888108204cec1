from .feature_width_hook import FeatureWidthHook
from .pretrained_backbone_hook import PretrainedBackboneHook
from .strict_checkpoint_hook import StrictCheckpointHook
from .sync_bn_statistics_hook import SyncBNStatisticsHook

__all__ = [
    'FeatureWidthHook', 'PretrainedBackboneHook', 'StrictCheckpointHook', 'SyncBNStatisticsHook'
]
