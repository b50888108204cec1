"""fast.py for the valence-arousal track."""

_base_ = ['datasets/affwild2_va.py', 'schedules/sgd_8k.py', 'default_runtime.py']

optim_wrapper = dict(type='AutoAmpOptimWrapper', optimizer=dict(fused=True))

default_hooks = dict(
    checkpoint=dict(save_best='affwild2/ccc'),
)
