"""Networks for export to ONNX, and exported networks in place of a config's model."""

from .onnx_classifier import OnnxClassifier

__all__ = ['OnnxClassifier']
