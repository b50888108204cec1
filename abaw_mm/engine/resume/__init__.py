"""Hooks that let a resumed run continue as if it had not been stopped."""

from .finish_validation_hook import FinishValidationHook
from .random_streams_hook import RandomStreamsHook
from .resumed_config_hook import ResumedConfigHook

__all__ = ['FinishValidationHook', 'RandomStreamsHook', 'ResumedConfigHook']
