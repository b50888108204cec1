"""Quantise an exported network of frames to 8 bits."""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    import onnx  # optional packages, as the next one
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        batches = iter(np.array_split(crops, -(-len(crops) // BATCH)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {CROPS: batch}

    with tempfile.TemporaryDirectory() as folder, _hide_warnings():
        fused = Path(folder, 'fused.onnx')  # BN as part of the convolutions
        quant_pre_process(path, fused, skip_symbolic_shape=True)
        nodes = onnx.load(fused).graph.node
        first = next(node for node in nodes if node.op_type in ('Conv', 'Gemm', 'MatMul'))
        quantization.quantize_static(
            fused,
            path,
            Reader(),
            nodes_to_exclude=find_ancestors(nodes, first),
            op_types_to_quantize=['Conv', 'Gemm', 'MatMul', 'Relu', 'Add', 'MaxPool'],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def find_ancestors(nodes: Iterable[Any], last: Any) -> list[str]:
    """Return the names of the nodes of a graph that a node depends on, here the preprocessing."""
    makers = {name: node for node in nodes for name in node.output}
    found: dict[str, None] = {}
    waiting = list(last.input)
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found[node.name] = None
            waiting += node.input
    return list(found)


@contextmanager
def _hide_warnings() -> Iterator[None]:
    """Hide advice of onnxruntime that has been followed; it uses the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
