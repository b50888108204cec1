from .apvit import APViT
from .iresnet import IResNet
from .ssl_pretrained import SSLPretrained

__all__ = ['APViT', 'IResNet', 'SSLPretrained']
