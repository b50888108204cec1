from .ssl_pretrained import SSLPretrained

__all__ = ['SSLPretrained']
