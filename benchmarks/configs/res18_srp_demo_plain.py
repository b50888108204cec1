"""The demo as plain mmpretrain runs it: what the fast way has to agree with."""

_base_ = ['../../configs/res18_srp_demo.py']

meta_keys = ('sample_idx', 'img_path', 'clip', 'frame_no')
train_pipeline = [
    dict(type='LoadFaceCrop'),
    dict(
        type='RandomResizedCrop',
        scale=112,
        crop_ratio_range=(0.6, 1.0),
        aspect_ratio_range=(1.0, 1.0),
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadFaceCrop'),
    dict(type='ResizeEdge', scale=112, edge='short'),
    dict(type='PackInputs', meta_keys=meta_keys),
]
data_preprocessor = dict(
    _delete_=True,
    num_classes=8,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
collate_fn = dict(type='default_collate')
train_dataloader = dict(collate_fn=collate_fn, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(collate_fn=collate_fn, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(type='ImageClassifier')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(fused=False))
