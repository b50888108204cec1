"""Backbones, registered in mmpretrain."""

from abaw_mm.checkpoints.ssl_pretrained import SSLPretrained

from .apvit import APViT
from .iresnet import IResNet
from .temporal_conv_net import TemporalConvNet

__all__ = ['APViT', 'IResNet', 'SSLPretrained', 'TemporalConvNet']
