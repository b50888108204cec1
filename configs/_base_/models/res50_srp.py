"""ResNet-50 with three frozen stages, Spatial Reserve Pooling and a linear classifier."""

_base_ = ['res18_srp.py']

model = dict(backbone=dict(depth=50), neck=dict(in_channels=2048))
