"""Frozen DINOv2 ViT-B/14 with Spatial Reserve Pooling on its patches and a linear classifier."""

model = dict(
    type='FrameClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch='base',
        # Size of the position embedding in DINOv2's weights, not of the images. The network
        # interpolates it to the number of patches.
        img_size=518,
        patch_size=14,
        layer_scale_init_value=1e-5,
        out_type='featmap',
        frozen_stages=12,  # all blocks; with fewer, the last ones are trained
    ),
    neck=dict(type='SpatialReservePooling', in_channels=768),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=256 * 3 * 3,  # 7x7 patches of a 98x98 image -> 3x3
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
