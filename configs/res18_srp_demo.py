"""ResNet-18 with Spatial Reserve Pooling on drawn faces, small enough for two CPU cores.

It shows that everything works and reproduces no figure of the paper. On crops of 112x112 pixels,
three stages output the 7x7 cells that four stages output for 224x224, so the neck is unchanged.
No stage is frozen, because there are no weights worth freezing.

    bash tools/quickstart.sh
"""

_base_ = ['res18_srp_affwild2.py']

checkpoint = None

data_preprocessor = dict(crop_size=112, resize_edge=112)

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(stride=4, class_balance=dict(oversample_thr=0.15)),
    dataset=dict(data_root='data/demo'),
)
val_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(data_root='data/demo'))
test_dataloader = val_dataloader

model = dict(
    backbone=dict(
        num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,), frozen_stages=-1
    ),
    neck=dict(in_channels=256),
)

optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_iters=300, val_interval=150)
default_hooks = dict(checkpoint=dict(interval=150), logger=dict(interval=20))
auto_scale_lr = dict(base_batch_size=64)
