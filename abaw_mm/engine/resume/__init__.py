"""What a resumed run takes from its checkpoint and from its config."""

from .resumed_config_hook import ResumedConfigHook

__all__ = ['ResumedConfigHook']
