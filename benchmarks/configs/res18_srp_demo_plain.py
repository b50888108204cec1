"""The demo in plain mmpretrain, float32: the reference for frame batches and mixed precision."""

_base_ = ['../../configs/res18_srp_demo.py']

train_pipeline = [
    dict(type='LoadFaceCrop'),
    dict(
        type='RandomResizedCrop',
        scale=112,
        crop_ratio_range={{_base_.random_crop.crop_ratio_range}},
        aspect_ratio_range={{_base_.random_crop.aspect_ratio_range}},
    ),
    {{_base_.random_flip}},
    {{_base_.pack}},
]
test_pipeline = [
    dict(type='LoadFaceCrop'),
    dict(type='ResizeEdge', scale=112, edge='short'),
    {{_base_.pack}},
]
data_preprocessor = dict(
    _delete_=True,
    num_classes=8,
    mean={{_base_.data_preprocessor.mean}},
    std={{_base_.data_preprocessor.std}},
    to_rgb={{_base_.data_preprocessor.to_rgb}},
)
collate_fn = dict(type='default_collate')
train_dataloader = dict(collate_fn=collate_fn, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(collate_fn=collate_fn, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(type='ImageClassifier')
efficient_conv_bn_eval = None
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(fused=False))
