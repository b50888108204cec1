"""IR-50 of face recognition with global average pooling and a linear classifier."""

model = dict(
    type='FrameClassifier',
    backbone=dict(type='IResNet', depth=50, frozen_stages=-1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=512,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
