"""Two views of each face, without labels.

`train_dataloader.dataset.data_root` is any folder of faces, or Aff-Wild2's `cropped_aligned`. The
sizes and strengths of the views are our choice, mild enough to keep the expression visible.
"""

_base_ = ['imagenet_norm.py']

data_preprocessor = dict(type='SelfSupDataPreprocessor')

view_pipeline = [  # the global transformations: affine, colour, flip
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
    # 256 faces over all processes. torchrun sets WORLD_SIZE.
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
