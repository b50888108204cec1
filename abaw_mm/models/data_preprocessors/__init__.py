"""Data preprocessors: batches to tensors on the device of the model."""

from .face_view_data_preprocessor import FaceViewDataPreprocessor
from .frame_data_preprocessor import FrameDataPreprocessor
from .raw_crop_data_preprocessor import RawCropDataPreprocessor
from .window_data_preprocessor import WindowDataPreprocessor

__all__ = [
    'FaceViewDataPreprocessor',
    'FrameDataPreprocessor',
    'RawCropDataPreprocessor',
    'WindowDataPreprocessor',
]
