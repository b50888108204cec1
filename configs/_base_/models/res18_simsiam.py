"""ResNet-18 in SimSiam (arXiv 2011.10566); the predictor's hidden layer is a quarter as wide."""

_base_ = ['res18_selfsup.py']

model = dict(
    type='SimSiam',
    backbone=dict(zero_init_residual=True),
    neck=dict(out_channels=2048, num_layers=3, with_last_bn_affine=False),
    head=dict(
        predictor=dict(
            in_channels=2048,
            hid_channels=512,
            out_channels=2048,
            with_last_bias=True,
        )
    ),
)
