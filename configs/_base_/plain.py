"""All but the model, as plain mmpretrain runs it; fast.py beside this file is its counterpart."""

_base_ = ['datasets/affwild2.py', 'schedules/sgd_8k.py', 'default_runtime.py']
