"""Transformer over windows of features with a linear classifier for each frame."""

model = dict(
    type='TemporalClassifier',
    backbone=dict(
        type='WindowTransformer',
        in_channels=256 * 3 * 3,  # width of Spatial Reserve Pooling (--layer neck)
        channels=256,
        num_layers=3,
        num_heads=8,
        dropout=0.1,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=256,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
