"""The released code's schedule: fp16 with a fixed loss scale, warm-up and a lowest rate of 1e-5."""

_base_ = ['sgd_8k.py']

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=512.0)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False),
]
