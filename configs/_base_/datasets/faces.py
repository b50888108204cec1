"""Faces without labels, in two views each.

`train_dataloader.dataset.data_root` is any folder of faces, or Aff-Wild2's `cropped_aligned`. Sizes
and strengths of the views are our choice, mild enough to leave the expression in the picture.
"""

data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    # ImageNet's statistics, as fine-tuning has them.
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

view_pipeline = [  # a global transformation: affine, colour, flip
    dict(
        type='Rotate',
        magnitude_range=(0, 15),
        magnitude_std='inf',
        prob=0.5,
        pad_val=0,
        interpolation='bilinear',
    ),
    dict(
        type='RandomResizedCrop',
        scale=112,
        crop_ratio_range=(0.5, 1.0),
        aspect_ratio_range=(0.9, 1.1),
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandomApply',
        transforms=[
            dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
        ],
        prob=0.8,
    ),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
    dict(type='GaussianBlur', magnitude_range=(0.1, 1.0), magnitude_std='inf', prob=0.5),
]
train_dataloader = dict(
    # 256 faces over all processes; torchrun tells how many those are.
    batch_size=256 // int('{{$WORLD_SIZE:1}}'),
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='FaceFolderDataset',
        data_root='data/faces',
        pipeline=[
            dict(type='LoadFaceCrop'),
            dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
            dict(type='PackInputs'),
        ],
    ),
)
