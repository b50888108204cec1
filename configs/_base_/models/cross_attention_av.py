"""Attention between video and audio with a linear classifier for each frame."""

model = dict(
    type='TemporalClassifier',
    backbone=dict(
        type='CrossAttentionFusion',
        in_channels=dict(
            video=256 * 3 * 3,  # width of Spatial Reserve Pooling (--layer neck)
            audio=1024,  # width of wav2vec2-large
        ),
        channels=256,
        num_layers=3,
        num_heads=8,
        dropout=0.1,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=256,
        loss=dict(type='SoftmaxFocalLoss', gamma=2.0),
    ),
)
