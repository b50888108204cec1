"""Aff-Wild2 at the 112x112 pixels of its official crops: what networks of face recognition take.

The augmentation is affwild2.py's; a test takes the crop as it is.
"""
_base_ = ['affwild2.py']

meta_keys = ('sample_idx', 'img_path', 'clip', 'frame_no')  # MacroF1 tells frames by these
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
    dict(type='CenterCrop', crop_size=112),
    dict(type='PackInputs', meta_keys=meta_keys),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
