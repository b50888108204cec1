"""DINOv2's ViT-B/14, frozen, Spatial Reserve Pooling on its patches and a linear classifier."""

model = dict(
    type='FrameClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch='base',
        # The size of the position embedding in DINOv2's weights, not of the images: the network
        # interpolates it to the patches that it gets.
        img_size=518,
        patch_size=14,
        layer_scale_init_value=1e-5,
        out_type='featmap',
        frozen_stages=12,  # all blocks; fewer leave the last ones to learn
    ),
    neck=dict(type='SpatialReservePooling', in_channels=768),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=256 * 3 * 3,  # 7x7 patches of a 98x98 image -> 3x3
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
