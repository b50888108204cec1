"""Perceptron with one hidden layer over the features of single frames."""

model = dict(
    type='TemporalClassifier',
    backbone=dict(
        type='FrameMLP',
        in_channels=256 * 3 * 3,  # width of Spatial Reserve Pooling (--layer neck)
        channels=128,
        dropout=0.3,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
