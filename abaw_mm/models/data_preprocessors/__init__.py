from .frame_data_preprocessor import FrameDataPreprocessor
from .window_data_preprocessor import WindowDataPreprocessor

__all__ = ['FrameDataPreprocessor', 'WindowDataPreprocessor']
