"""Aff-Wild2 with frames of rare classes repeated, as the released code's ClassBalancedDataset does.

Plain mmpretrain, as affwild2.py.
"""

_base_ = ['affwild2.py']

train_dataloader = dict(sampler=dict(class_balance=dict(oversample_thr=0.15)))
