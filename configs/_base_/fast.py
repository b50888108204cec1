"""All but the model, in the fast way; a config that inherits it says model.type='FrameClassifier'.

The recipe is that of plain.py beside this file, and so are the checkpoints; the arithmetic is mixed
precision. docs/performance.md has what it brings, and what each line here does to it.
"""
_base_ = ['datasets/affwild2_fast.py', 'schedules/sgd_8k.py', 'default_runtime.py']

optim_wrapper = dict(type='AutoAmpOptimWrapper', optimizer=dict(fused=True))

# Few parameters learn: one bucket, sent once, and nothing else.
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel',
    broadcast_buffers=False,  # frozen BN never changes, SyncBNStatisticsHook averages the rest
    find_unused_parameters=False,
    # The same parameters learn in each step, and yet: gradients that accumulate
    # (optim_wrapper.accumulative_counts) would end in an assertion of torch.
    static_graph=False,
    gradient_as_bucket_view=True,
    bucket_cap_mb=100,
)
