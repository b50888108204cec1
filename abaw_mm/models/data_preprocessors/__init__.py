"""Data preprocessors: batches to tensors on the device of the model."""

from .frame_data_preprocessor import FrameDataPreprocessor
from .window_data_preprocessor import WindowDataPreprocessor

__all__ = ['FrameDataPreprocessor', 'WindowDataPreprocessor']
