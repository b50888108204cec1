"""Frame model of benchmarks/streams.py: the demo's, of half the width, at 80x80 pixels.

The neck pools 5x5 cells to 2x2. 600 iterations of 32 frames from random weights, nothing frozen.
"""

_base_ = ['../../configs/res18_srp_demo.py']

data_preprocessor = dict(crop_size=80, resize_edge=80)
train_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
model = dict(
    backbone=dict(stem_channels=32, base_channels=32),
    neck=dict(in_channels=128),
    head=dict(in_channels=256 * 2 * 2),
)
train_cfg = dict(max_iters=600, val_interval=600)
default_hooks = dict(checkpoint=dict(interval=200, save_best=None), logger=dict(interval=50))
auto_scale_lr = dict(base_batch_size=32)
