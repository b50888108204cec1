"""Aff-Wild2 with small hand-overs: workers only decode, the rest happens where the model is.

Same frames, same distribution of random crops, same evaluation as affwild2.py beside this file. It
needs `model = dict(type='FrameClassifier')`.
"""

_base_ = ['affwild2.py']

data_preprocessor = dict(
    _delete_=True,
    type='FrameDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    crop_size=224,
    resize_edge=256,
    crop_ratio_range=(0.6, 1.0),
    aspect_ratio_range=(1.0, 1.0),
    flip_prob=0.5,
)

pipeline = [dict(type='LoadFaceCrop')]
collate_fn = dict(type='collate_frames')
train_dataloader = dict(collate_fn=collate_fn, dataset=dict(pipeline=pipeline))
val_dataloader = dict(collate_fn=collate_fn, dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
