"""Gate between video and audio with a linear classifier for each frame."""

model = dict(
    type='TemporalClassifier',
    backbone=dict(
        type='GatedFusion',
        in_channels=dict(
            video=256 * 3 * 3,  # width of Spatial Reserve Pooling (--layer neck)
            audio=1024,  # width of wav2vec2-large
        ),
        channels=512,
        dropout=0.2,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=512,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
