"""Data, schedule and runtime for plain mmpretrain; the counterpart of fast.py."""

_base_ = ['datasets/affwild2.py', 'schedules/sgd_8k.py', 'default_runtime.py']
