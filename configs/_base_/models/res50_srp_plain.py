"""The model of res50_srp.py as mmpretrain's own classifier, for plain mmpretrain."""

_base_ = ['res18_srp_plain.py']

model = dict(backbone=dict(depth=50), neck=dict(in_channels=2048))
