"""AdamW, 1e-3, cosine, 2000 iterations: our choice for a small network on features."""

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))

# Without `end`, the cosine ends at train_cfg.max_iters.
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False)]

train_cfg = dict(by_epoch=False, max_iters=2000, val_interval=500)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=16)  # used with --auto-scale-lr only
