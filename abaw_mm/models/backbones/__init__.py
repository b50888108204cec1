"""Backbones that mmpretrain does not have: of images, and of windows of features."""

from .apvit import APViT
from .frame_mlp import FrameMLP
from .iresnet import IResNet
from .temporal_conv_net import TemporalConvNet
from .window_transformer import WindowTransformer

__all__ = ['APViT', 'FrameMLP', 'IResNet', 'TemporalConvNet', 'WindowTransformer']
