"""Aff-Wild2 as frame batches: workers only decode, the device crops and normalises.

Frames, distribution of the random crops and evaluation are those of affwild2.py. The model must be
a `FrameClassifier`.
"""

_base_ = ['affwild2.py']

data_preprocessor = dict(
    _delete_=True,
    type='FrameDataPreprocessor',
    mean={{_base_.data_preprocessor.mean}},
    std={{_base_.data_preprocessor.std}},
    to_rgb={{_base_.data_preprocessor.to_rgb}},
    crop_size={{_base_.random_crop.scale}},
    resize_edge={{_base_.resize.scale}},
    crop_ratio_range={{_base_.random_crop.crop_ratio_range}},
    aspect_ratio_range={{_base_.random_crop.aspect_ratio_range}},
    flip_prob={{_base_.random_flip.prob}},
)

pipeline = [dict(type='LoadFaceCrop')]
collate_fn = dict(type='collate_frames')
train_dataloader = dict(collate_fn=collate_fn, dataset=dict(pipeline=pipeline))
val_dataloader = dict(collate_fn=collate_fn, dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
