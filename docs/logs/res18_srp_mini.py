_base_ = ['../../configs/res18_srp_affwild2.py']
train = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=112,
        crop_ratio_range=(0.6, 1.0),
        aspect_ratio_range=(1.0, 1.0),
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'clip', 'frame_no')),
]
test = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'clip', 'frame_no')),
]
root = 'data/affwild2_mini'
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(class_balance=dict(oversample_thr=0.15)),
    dataset=dict(data_root=root, pipeline=train),
)
val_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(data_root=root, pipeline=test))
test_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(data_root=root, pipeline=test))
model = dict(backbone=dict(frozen_stages=-1), head=dict(in_channels=256))
optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_iters=500, val_interval=250)
default_hooks = dict(logger=dict(interval=25))
