"""Small temporal convolutional network with a linear classifier for each frame."""

model = dict(
    type='TemporalClassifier',
    backbone=dict(
        type='TemporalConvNet',
        in_channels=256 * 3 * 3,  # width of Spatial Reserve Pooling (--layer neck)
        channels=128,
        num_layers=6,  # 63 frames on either side
        dropout=0.3,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
