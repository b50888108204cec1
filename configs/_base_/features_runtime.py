"""Hooks of all models over features."""

_base_ = ['default_runtime.py']

default_hooks = dict(
    checkpoint=dict(interval=500),
    pretrained_backbone=dict(warn=False),  # the network is meant to train from scratch
    feature_source=dict(type='FeatureSourceHook'),
)
