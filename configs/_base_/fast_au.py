"""fast.py for the action unit track."""

_base_ = ['datasets/affwild2_au.py', 'schedules/sgd_8k.py', 'default_runtime.py']

optim_wrapper = dict(type='AutoAmpOptimWrapper', optimizer=dict(fused=True))

default_hooks = dict(
    checkpoint=dict(save_best='affwild2/mean_f1'),
    # At most 10 times the loss where a rare action unit is present.
    class_frequency=dict(type='ClassFrequencyHook', max_positive_weight=10.0),
)
