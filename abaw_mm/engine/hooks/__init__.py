from .feature_width_hook import FeatureWidthHook
from .pretrained_backbone_hook import PretrainedBackboneHook
from .strict_checkpoint_hook import StrictCheckpointHook

__all__ = ['FeatureWidthHook', 'PretrainedBackboneHook', 'StrictCheckpointHook']
