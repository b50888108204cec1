"""Files of predictions, and what improves and scores them without the network."""

from .predictions import Predictions

__all__ = ['Predictions']
