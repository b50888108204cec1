"""The multi-task network at the size of benchmarks/tracks.py.

Spatial Reserve Pooling as in configs/res18_srp_mtl.py, in a ResNet-18 of half the width from random
weights, so no stage is frozen. The faces have 64x64 pixels. The last stage does not halve its map,
so that the neck pools 4x4 cells to 2x2. 400 iterations of 32 rows.
"""

_base_ = ['../../configs/res18_srp_mtl.py']

data_preprocessor = dict(crop_size=64, resize_edge=72)

train_dataloader = dict(batch_size=32, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=64, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader

model = dict(
    backbone=dict(stem_channels=32, base_channels=32, strides=(1, 2, 2, 1), frozen_stages=-1),
    neck=dict(in_channels=256, kernel_sizes=(1, 2)),
    head=dict(in_channels=256 * 2 * 2),
)

optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False),
]
train_cfg = dict(max_iters=400, val_interval=400)
default_hooks = dict(
    checkpoint=dict(interval=100, max_keep_ckpts=1, save_best=None, rule=None),
    pretrained_backbone=dict(warn=False),  # the network is meant to train from scratch
)
auto_scale_lr = dict(base_batch_size=32)
