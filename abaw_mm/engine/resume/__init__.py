"""Hooks that stop a run without loss and continue it as if it had not been stopped."""

from .finish_validation_hook import FinishValidationHook
from .random_streams_hook import RandomStreamsHook
from .resume_hook import ResumeHook
from .resumed_config_hook import ResumedConfigHook
from .stop_hook import StopHook

__all__ = [
    'FinishValidationHook',
    'RandomStreamsHook',
    'ResumeHook',
    'ResumedConfigHook',
    'StopHook',
]
