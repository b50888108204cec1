"""ResNet-18 in BYOL (arXiv 2006.07733), with a narrower projector and predictor."""

_base_ = ['res18_selfsup.py']

mlp = dict(hid_channels=2048, out_channels=256, num_layers=2, with_bias=True, with_last_bn=False)
model = dict(
    type='BYOL',
    base_momentum=0.01,  # as in mmpretrain's recipe; falls to 0 along a cosine
    neck=mlp,
    head=dict(predictor=dict(in_channels=256, **mlp)),
)
