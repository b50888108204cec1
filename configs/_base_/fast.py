"""All but the model, in the fast way; a config that inherits it says model.type='FrameClassifier'.

The recipe is that of plain.py beside this file, and so are the checkpoints; the arithmetic is mixed
precision. docs/performance.md has what it brings, and what each line here does to it.
"""

_base_ = ['datasets/affwild2_fast.py', 'schedules/sgd_8k.py', 'default_runtime.py']

optim_wrapper = dict(type='AutoAmpOptimWrapper', optimizer=dict(fused=True))

# DDP's own buckets: no gain of others, or of static_graph, could be measured (docs/performance.md),
# and static_graph ends in an assertion of torch where gradients accumulate (accumulative_counts).
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel',
    broadcast_buffers=False,  # frozen BN never changes, SyncBNStatisticsHook averages the rest
    find_unused_parameters=False,
    static_graph=False,
    bucket_cap_mb=25,
)
