"""Models over features in benchmarks/streams.py, which sets the model, its streams and the data.

One schedule and one loss for all of them: 250 iterations of 8 windows of 64 frames, AdamW at 1e-3
with warm-up and cosine, cross entropy weighted by the inverse frequency of the classes.
"""

_base_ = ['../../configs/temporal_tcn_affwild2.py']

model = dict(head=dict(in_channels=64))

train_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(window=64, step=16)
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(window=64))
test_dataloader = val_dataloader

optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=25),
    dict(type='CosineAnnealingLR', by_epoch=False),
]
train_cfg = dict(max_iters=250, val_interval=250)

default_hooks = dict(
    class_frequency=dict(type='ClassFrequencyHook', class_weight='inverse_frequency'),
    checkpoint=dict(interval=250, save_best=None),
    logger=dict(interval=50),
)
auto_scale_lr = dict(base_batch_size=8)
