"""Aff-Wild2's expression track for mmpretrain's own transforms: frames, augmentation, macro-F1.

Set the folder of the data with `data_root` of the three datasets. Editions of Aff-Wild2 differ in
the name of the annotations folder, `ann_file`. affwild2_fast.py takes its numbers from this file.
"""

_base_ = ['imagenet_norm.py']

dataset_type = 'AffWild2Dataset'
data_root = 'data/affwild2'

data_preprocessor = dict(num_classes=8)

random_crop = dict(
    type='RandomResizedCrop',
    scale=224,
    crop_ratio_range=(0.6, 1.0),
    aspect_ratio_range=(1.0, 1.0),
)
random_flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
resize = dict(type='ResizeEdge', scale=256, edge='short')
center_crop = dict(type='CenterCrop', crop_size=random_crop['scale'])

meta_keys = ('sample_idx', 'img_path', 'clip', 'frame_no')  # MacroF1 identifies frames by these
pack = dict(type='PackInputs', meta_keys=meta_keys)
train_pipeline = [dict(type='LoadFaceCrop'), random_crop, random_flip, pack]
test_pipeline = [dict(type='LoadFaceCrop'), resize, center_crop, pack]

train_dataloader = dict(
    # 128 frames over all processes (Sec. 4.1). torchrun sets WORLD_SIZE.
    batch_size=128 // int('{{$WORLD_SIZE:1}}'),
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='FrameStrideSampler', stride=10, infinite=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/EXPR_Recognition_Challenge/Train_Set',
        data_prefix='cropped_aligned',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/EXPR_Recognition_Challenge/Validation_Set',
        data_prefix='cropped_aligned',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='MacroF1', num_classes=8)
test_evaluator = val_evaluator
