"""SGD for 40,000 iterations, 10 million faces in two views each: our choice, for one GPU.

The optimiser is that of SimSiam (arXiv 2011.10566, Sec. 4: 0.05 for 256 images), which does not
need a large batch.
"""

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4))

# Without `end`, the cosine ends at train_cfg.max_iters.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', by_epoch=False),
]

train_cfg = dict(by_epoch=False, max_iters=40000)

auto_scale_lr = dict(base_batch_size=256)  # used with --auto-scale-lr only
