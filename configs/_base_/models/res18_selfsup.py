"""Common parts of BYOL and SimSiam: ResNet-18, projector, predictor and the cosine loss."""

model = dict(
    backbone=dict(
        type='ResNet',
        depth=18,
        num_stages=4,
        out_indices=(3,),
        norm_cfg=dict(type='SyncBN'),
        zero_init_residual=False,
        style='pytorch',
    ),
    neck=dict(type='NonLinearNeck', in_channels=512, hid_channels=2048, with_avg_pool=True),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(type='NonLinearNeck', with_last_bn=False, with_avg_pool=False),
        loss=dict(type='CosineSimilarityLoss'),
    ),
)
