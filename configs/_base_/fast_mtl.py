"""fast.py for the multi-task track."""

_base_ = ['datasets/affwild2_mtl.py', 'schedules/sgd_8k.py', 'default_runtime.py']

optim_wrapper = dict(type='AutoAmpOptimWrapper', optimizer=dict(fused=True))

default_hooks = dict(
    checkpoint=dict(save_best='affwild2/p_score'),
    # At most 10 times the loss where a rare action unit is present.
    class_frequency=dict(type='ClassFrequencyHook', max_positive_weight=10.0),
)
