"""Two views of each face, without labels.

`train_dataloader.dataset.data_root` is any folder of faces, or Aff-Wild2's `cropped_aligned`. The
sizes and strengths of the views are our choice, mild enough to keep the expression visible. Faces
are decoded once if they fit in memory; views are made on the device of the model.
"""

_base_ = ['imagenet_norm.py']

data_preprocessor = dict(
    type='FaceViewDataPreprocessor',
    view_size=112,
    rotation=15.0,
    crop_ratio_range=(0.5, 1.0),
    aspect_ratio_range=(0.9, 1.1),
    jitter=(0.4, 0.4, 0.2, 0.1),  # brightness, contrast, saturation, hue
)
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
        keep=2,
        pipeline=[
            dict(type='LoadFaceCrop'),
            dict(type='Resize', scale=(112, 112)),
            dict(type='PackInputs', meta_keys=('img_path', 'landmarks')),
        ],
    ),
)
