"""Predictions files and their scores."""

from .predictions import Predictions

__all__ = ['Predictions']
