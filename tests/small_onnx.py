"""Write small ONNX files: a classifier, and a network as this package exports them."""

from pathlib import Path

import numpy as np
import pytest

from abaw_mm.models.deploy.crop_input import Preprocessing
from abaw_mm.models.deploy.onnx_network import NetworkInfo


def write_onnx(
    path: Path, size: int | str = 16, batch: int | str = 'n', channels_last: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Write the classifier; return the weights of the convolution (5, 3, 1, 1) and the layer."""
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    rng = np.random.default_rng(0)
    conv = rng.normal(size=(5, 3, 1, 1)).astype(np.float32)
    last = rng.normal(size=(5, 8)).astype(np.float32)
    make = onnx.helper.make_node
    nodes = [
        make('Conv', ['pixels', 'conv'], ['maps']),
        make('Relu', ['maps'], ['positive']),
        make('GlobalAveragePool', ['positive'], ['pooled']),
        make('Flatten', ['pooled'], ['features']),
        make('Gemm', ['features', 'last'], ['scores']),
    ]
    if channels_last:
        nodes.insert(0, make('Transpose', ['input'], ['pixels'], perm=[0, 3, 1, 2]))
    shape = [batch, size, size, 3] if channels_last else [batch, 3, size, size]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        'classifier',
        [value('input' if channels_last else 'pixels', onnx.TensorProto.FLOAT, shape)],
        [value('scores', onnx.TensorProto.FLOAT, [batch, 8])],
        [
            onnx.numpy_helper.from_array(array, name)
            for array, name in ((conv, 'conv'), (last, 'last'))
        ],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=9
    )
    onnx.save(model, str(path))
    return conv, last


STEPS = Preprocessing(4, 4, 4, (0.0,) * 3, (1.0,) * 3)


def write_network(path: Path, **changes: str) -> NetworkInfo:
    """Write a network whose scores are the first eight bytes of each crop.

    They are no probabilities, so that a wrong layout shows. Changes are those of the metadata.
    """
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make('Flatten', ['crops'], ['flat']),
        make('Cast', ['flat'], ['real'], to=onnx.TensorProto.FLOAT),
        make('Slice', ['real', 'start', 'end', 'axis'], ['pred_score']),
    ]
    arrays = dict(start=[0], end=[8], axis=[1])
    graph = onnx.helper.make_graph(
        nodes,
        'copy',
        [value('crops', onnx.TensorProto.UINT8, ['N', 4, 4, 3])],
        [value('pred_score', onnx.TensorProto.FLOAT, ['N', 8])],
        [onnx.numpy_helper.from_array(np.array(a), n) for n, a in arrays.items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid('', 18)], ir_version=9
    )
    info = NetworkInfo('expr', tuple('abcdefgh'), '0' * 64, 'small', preprocessing=STEPS)
    onnx.helper.set_model_props(model, info.to_metadata() | changes)
    onnx.save(model, path)
    return info
