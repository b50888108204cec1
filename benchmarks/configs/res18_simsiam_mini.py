"""SimSiam in few iterations (benchmarks/pretraining.py): AdamW gets further than SGD."""

_base_ = ['../../configs/res18_simsiam_faces.py']

optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.01))
custom_hooks = [
    dict(type='SimSiamHook', priority='HIGH', fix_pred_lr=True, lr=2e-3, adjust_by_epoch=False)
]
