"""ContraWarping in few iterations (benchmarks/pretraining.py): AdamW gets further than SGD."""

_base_ = ['../../configs/res18_contrawarping_faces.py']

optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.01))
