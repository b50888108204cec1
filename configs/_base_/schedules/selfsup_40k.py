"""40,000 steps of SGD: 10 million faces in two views each. Our choice, for one GPU.

SimSiam's optimiser (arXiv 2011.10566, Sec. 4: 0.05 for 256 images), which needs no large batch.
"""

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4))

# Without an end of its own the cosine ends with train_cfg.max_iters, whatever that is.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', by_epoch=False),
]

train_cfg = dict(by_epoch=False, max_iters=40000)

auto_scale_lr = dict(base_batch_size=256)  # used with --auto-scale-lr only
