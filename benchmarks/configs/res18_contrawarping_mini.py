"""ContraWarping in few steps, see benchmarks/pretraining.py: Adam gets further than SGD."""

_base_ = ['../../configs/res18_contrawarping_faces.py']

optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01))
model = dict(base_momentum=0.02)  # the target follows sooner, as there are fewer steps
