"""Data preprocessors: batches to tensors on the device of the model."""

from .face_view_data_preprocessor import FaceViewDataPreprocessor
from .frame_data_preprocessor import FrameDataPreprocessor
from .window_data_preprocessor import WindowDataPreprocessor

__all__ = ['FaceViewDataPreprocessor', 'FrameDataPreprocessor', 'WindowDataPreprocessor']
