"""Backbones, registered in mmpretrain."""

from .apvit import APViT
from .iresnet import IResNet
from .temporal_conv_net import TemporalConvNet

__all__ = ['APViT', 'IResNet', 'TemporalConvNet']
