"""ResNet-18 with three frozen stages, Spatial Reserve Pooling and a linear classifier."""

model = dict(
    type='FrameClassifier',
    backbone=dict(
        type='ResNet',
        depth=18,
        num_stages=4,
        out_indices=(3,),
        frozen_stages=3,  # the stem and stages 1-3 with their BN statistics (Table 4)
        style='pytorch',
    ),
    neck=dict(type='SpatialReservePooling', in_channels=512),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=256 * 3 * 3,  # 7x7 cells of a 224x224 image -> 3x3
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)

# mmengine fuses BN layers in evaluation into the convolutions. None for other backbones.
efficient_conv_bn_eval = ['backbone']
