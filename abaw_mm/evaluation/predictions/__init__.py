"""Predictions files, postprocessing and scores."""

from .predictions import Predictions

__all__ = ['Predictions']
