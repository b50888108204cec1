"""The Res-18 recipe on drawn faces, at a size that two CPU cores can bear.

It shows that everything works; it reproduces nothing of the paper.

    bash tools/quickstart.sh
"""
_base_ = ['res18_srp_affwild2.py']

checkpoint = None

dataset = dict(data_root='data/demo')
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dataset)
val_dataloader = dict(batch_size=32, num_workers=1, dataset=dataset)
test_dataloader = dict(batch_size=32, num_workers=1, dataset=dataset)

train_cfg = dict(max_iters=120, val_interval=120)
default_hooks = dict(checkpoint=dict(interval=120), logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=32)
