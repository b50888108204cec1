"""APViT with a linear classifier on its class token, with the settings of the released code."""

model = dict(
    type='FrameClassifier',
    backbone=dict(
        type='APViT',
        img_size=112,
        keep_patches=160,  # of 14x14
        keep_rates=(1.0, 1.0, 1.0, 1.0, 0.9, 0.9, 0.9, 0.9),
        embed_dims=768,
        num_heads=8,
        mlp_ratio=3.0,
        frozen_stages=-1,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=768,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
