"""Hooks that check a run before and during training, several processes, and mixed precision."""

from . import hooks, processes, resume
from .auto_amp_optim_wrapper import auto_amp_optim_wrapper
from .buffered_runtime_info_hook import BufferedRuntimeInfoHook
from .unwrap_model import unwrap_model

__all__ = [
    'BufferedRuntimeInfoHook',
    'auto_amp_optim_wrapper',
    'hooks',
    'processes',
    'resume',
    'unwrap_model',
]
