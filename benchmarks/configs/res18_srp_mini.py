"""The paper's fine-tuning at the size of benchmarks/pretraining.py.

Three frozen stages and Spatial Reserve Pooling, as in configs/res18_srp_affwild2.py, in a ResNet-18
of half the width. The faces have 80x80 pixels. The last stage does not halve its map, so that the
neck pools 5x5 cells to 2x2. 300 iterations of 64 frames, balanced classes.
"""

_base_ = ['../../configs/res18_srp_affwild2_plain.py']

train_pipeline = [
    dict(type='LoadFaceCrop'),
    dict(
        type='RandomResizedCrop',
        scale=80,
        crop_ratio_range={{_base_.random_crop.crop_ratio_range}},
        aspect_ratio_range={{_base_.random_crop.aspect_ratio_range}},
    ),
    {{_base_.random_flip}},
    {{_base_.pack}},
]
test_pipeline = [
    dict(type='LoadFaceCrop'),
    dict(type='ResizeEdge', scale=91, edge='short'),
    dict(type='CenterCrop', crop_size=80),
    {{_base_.pack}},
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    sampler=dict(stride=4, class_balance=dict(oversample_thr=0.15)),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(
    backbone=dict(stem_channels=32, base_channels=32, strides=(1, 2, 2, 1)),
    neck=dict(in_channels=256),
    head=dict(in_channels=256 * 2 * 2),
)

optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False),
]
train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(checkpoint=dict(interval=300), logger=dict(interval=50))
auto_scale_lr = dict(base_batch_size=64)
