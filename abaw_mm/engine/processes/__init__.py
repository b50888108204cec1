"""The processes of a run on one machine or several: meet, compare, share gradients, cost."""

from .gradient_compression_hook import GradientCompressionHook

__all__ = ['GradientCompressionHook']
