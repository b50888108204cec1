"""Data, schedule and runtime for frame batches and mixed precision; the counterpart of plain.py.

Recipe and checkpoints are those of plain.py. docs/performance.md says what is faster and why.
"""

_base_ = ['datasets/affwild2_fast.py', 'schedules/sgd_8k.py', 'default_runtime.py']

optim_wrapper = dict(type='AutoAmpOptimWrapper', optimizer=dict(fused=True))
