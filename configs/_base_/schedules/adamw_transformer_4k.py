"""AdamW, 1e-4, 400 iterations of linear warm-up, cosine, 4000 iterations: our choice."""

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.03),
    clip_grad=dict(max_norm=1.0),
)

# Without `end`, the cosine ends at train_cfg.max_iters.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=400),
    dict(type='CosineAnnealingLR', by_epoch=False),
]

train_cfg = dict(by_epoch=False, max_iters=4000, val_interval=1000)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=32)  # used with --auto-scale-lr only
