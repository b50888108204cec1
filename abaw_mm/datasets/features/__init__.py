"""Features of frames on disk, and windows over them for temporal models."""

from .clip_features import ClipFeatureDataset
from .feature_folder import FeatureFolder

__all__ = ['ClipFeatureDataset', 'FeatureFolder']
