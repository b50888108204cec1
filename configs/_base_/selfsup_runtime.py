"""Runtime of all pre-training: a collapse check, a probe, and an exported backbone at the end."""

_base_ = ['default_runtime.py']

default_hooks = dict(
    checkpoint=dict(save_best=None, rule=None),
    pretrained_backbone=dict(warn=False),  # pre-training usually starts from random weights
    collapse=dict(type='CollapseHook', interval=50),
    # Labelled frames are only used to measure. Without any, set default_hooks.probe.interval=0.
    probe=dict(
        type='ProbeHook',
        interval=10000,
        train_frames_per_class=100,
        val_frames=2000,
        dataset=dict(
            type='AffWild2Dataset',
            data_root='data/affwild2',
            data_prefix='cropped_aligned',
            pipeline=[
                dict(type='LoadFaceCrop'),
                dict(type='Resize', scale=(112, 112)),
                dict(type='PackInputs'),
            ],
        ),
        train_ann_file='annotations/EXPR_Recognition_Challenge/Train_Set',
        val_ann_file='annotations/EXPR_Recognition_Challenge/Validation_Set',
    ),
    export_backbone=dict(type='ExportBackboneHook'),
)
