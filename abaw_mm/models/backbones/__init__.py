from .apvit import APViT
from .iresnet import IResNet
from .ssl_pretrained import SSLPretrained
from .temporal_conv_net import TemporalConvNet

__all__ = ['APViT', 'IResNet', 'SSLPretrained', 'TemporalConvNet']
