"""The Python API: train, test, extract features, explain, score pictures."""

from .browse_batches import browse_batches
from .config import load_config
from .deploy.export_onnx import export_onnx
from .explain import explain
from .features.encode_crops import encode_crops
from .features.export_features import export_features
from .features.extract_audio_features import extract_audio_features
from .features.extract_features import extract_features
from .features.import_features import import_features
from .inference.predict_camera import predict_camera
from .inference.predict_images import predict_images
from .inference.predict_video import predict_video
from .inference.video_inferencer import VideoExpressionInferencer
from .load_classifier import load_classifier
from .model_stats import model_stats
from .test import test
from .train import train

__all__ = [
    'VideoExpressionInferencer',
    'browse_batches',
    'encode_crops',
    'explain',
    'export_features',
    'export_onnx',
    'extract_audio_features',
    'extract_features',
    'import_features',
    'load_classifier',
    'load_config',
    'model_stats',
    'predict_camera',
    'predict_images',
    'predict_video',
    'test',
    'train',
]
