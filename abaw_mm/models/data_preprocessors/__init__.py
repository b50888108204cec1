from .frame_data_preprocessor import FrameDataPreprocessor

__all__ = ['FrameDataPreprocessor']
