"""Aff-Wild2's expression track: frames, augmentation, macro-F1.

Where the data lies is `data_root`; editions differ in the name of the annotations' folder.
"""

dataset_type = 'AffWild2Dataset'
data_root = 'data/affwild2'

# The networks' weights expect ImageNet's statistics.
data_preprocessor = dict(
    num_classes=8,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

meta_keys = ('sample_idx', 'img_path', 'clip', 'frame_no')  # MacroF1 tells frames by these
train_pipeline = [
    dict(type='LoadFaceCrop'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.6, 1.0),
        aspect_ratio_range=(1.0, 1.0),
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadFaceCrop'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    # 128 frames over all processes (Sec. 4.1); torchrun tells how many those are.
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
