"""Aff-Wild2's expression track as windows over features, scored by macro-F1.

A window scores 256 frames, 9 s at 30 frames per second, with 63 more frames of context on either
side. That is as far as the network reaches (`TemporalConvNet.reach`), so the scores equal those of
the whole clip at once.
"""

dataset_type = 'ClipFeatureDataset'
data_root = 'data/affwild2'
feature_dir = 'features/res50_srp_affwild2'

data_preprocessor = dict(type='WindowDataPreprocessor')

train_dataloader = dict(
    # 16 windows over all processes. torchrun sets WORLD_SIZE.
    batch_size=16 // int('{{$WORLD_SIZE:1}}'),
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type=dataset_type,
        feature_dir=feature_dir,
        data_root=data_root,
        ann_file='annotations/EXPR_Recognition_Challenge/Train_Set',
        window=256,
        context=63,
        step=64,  # training windows overlap
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type=dataset_type,
        feature_dir=feature_dir,
        data_root=data_root,
        ann_file='annotations/EXPR_Recognition_Challenge/Validation_Set',
        window=256,
        context=63,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='MacroF1', num_classes=8)
test_evaluator = val_evaluator
