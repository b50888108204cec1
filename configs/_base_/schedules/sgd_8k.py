"""The paper's schedule (Sec. 4.1): SGD, 5e-3, cosine, 8000 iterations.

The paper does not give momentum and weight decay; these are the values of the released code.
"""

optim_wrapper = dict(optimizer=dict(type='SGD', lr=5e-3, momentum=0.9, weight_decay=0.01))

# Without `end`, the cosine ends at train_cfg.max_iters.
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False)]

train_cfg = dict(by_epoch=False, max_iters=8000, val_interval=2000)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=128)  # used with --auto-scale-lr only
