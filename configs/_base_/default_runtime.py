"""Hooks, logging and environment of all runs."""

default_scope = 'mmpretrain'
custom_imports = dict(imports=['abaw_mm'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='BufferedRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),  # scores by step
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=2000,
        max_keep_ckpts=2,
        save_best='affwild2/macro_f1',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    pretrained_backbone=dict(type='PretrainedBackboneHook'),
    strict_checkpoint=dict(type='StrictCheckpointHook'),
    resume=dict(type='ResumeHook'),
    resumed_config=dict(type='ResumedConfigHook'),
    random_streams=dict(type='RandomStreamsHook'),
    finish_validation=dict(type='FinishValidationHook'),
    feature_width=dict(type='FeatureWidthHook'),
    sync_bn_statistics=dict(type='SyncBNStatisticsHook'),
    frame_batch=dict(type='FrameBatchHook'),
    unreadable_frames=dict(type='UnreadableFramesHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,  # every batch has the same shape
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

# TensorBoard: `--tensorboard`, or vis_backends=[..., dict(type='TensorboardVisBackend')].
visualizer = dict(
    type='UniversalVisualizer',
    vis_backends=[dict(type='LocalVisBackend')],
)

log_processor = dict(by_epoch=False)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
