"""Classifiers of frames and of windows of features."""

from .frame_classifier import FrameClassifier
from .temporal_classifier import TemporalClassifier

__all__ = ['FrameClassifier', 'TemporalClassifier']
