from .frame_classifier import FrameClassifier

__all__ = ['FrameClassifier']
