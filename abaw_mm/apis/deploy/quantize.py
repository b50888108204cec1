"""Quantise an exported network of frames to 8 bits."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from abaw_mm.models.deploy.onnx_network import CROPS

BATCH = 16


def quantize(path: Path, crops: np.ndarray) -> None:
    """Quantise weights and activations of convolutions and linear layers, in place.

    Static quantisation of onnxruntime: weights per channel with 7 bits, so that sums of products
    cannot saturate on processors without VNNI, activations with 8 bits between the smallest and the
    largest value on the crops. Resizing, normalisation and the functions of the head stay in
    float32.

    Args:
        path (Path): The ONNX file in float32. It is replaced.
        crops (ndarray): Crops for calibration, (N, 112, 112, 3) uint8 RGB.
    """
    from onnxruntime import quantization  # an optional package
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        batches = iter(np.array_split(crops, -(-len(crops) // BATCH)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {CROPS: batch}

    with tempfile.TemporaryDirectory() as folder, _hide_warnings():
        fused = Path(folder, 'fused.onnx')  # BN as part of the convolutions
        quant_pre_process(path, fused, skip_symbolic_shape=True)
        quantization.quantize_static(
            fused,
            path,
            Reader(),
            op_types_to_quantize=['Conv', 'Gemm', 'MatMul', 'Relu', 'Add', 'MaxPool'],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


@contextmanager
def _hide_warnings() -> Iterator[None]:
    """Hide advice of onnxruntime that has been followed; it uses the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
