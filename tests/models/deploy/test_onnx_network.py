"""Test that only files of this package are taken as exported networks."""

import numpy as np
import pytest
from small_onnx import write_onnx

from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.models.deploy.crop_input import Preprocessing
from abaw_mm.models.deploy.onnx_network import NetworkInfo, OnnxNetwork

STEPS = Preprocessing(4, 4, 4, (0.0,) * 3, (1.0,) * 3)


def write_network(path, **changes):
    """Write a network whose scores are the first eight bytes of each crop, as one of the package.

    Scores are not probabilities, so that a wrong layout would show.
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


def test_description_and_arrays_are_those_of_the_file(tmp_path):
    info = write_network(tmp_path / 'net.onnx')
    network = OnnxNetwork(tmp_path / 'net.onnx')
    crops = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    assert network.info == info and network.info.num_classes == 8
    np.testing.assert_array_equal(
        network.run(dict(crops=crops))['pred_score'], crops.reshape(3, -1)[:, :8]
    )


@pytest.mark.parametrize('shape', [(2, 5, 4, 3), (2, 4, 4), (2, 3, 4, 4)])
def test_other_shapes_are_refused(tmp_path, shape):
    write_network(tmp_path / 'net.onnx')
    with pytest.raises(InvalidValueError, match=r'expected crops \(N, 4, 4, 3\)'):
        OnnxNetwork(tmp_path / 'net.onnx').run(dict(crops=np.zeros(shape, np.uint8)))


@pytest.mark.parametrize('changes', [dict(task='va'), dict(classes='['), dict(preprocessing='{}')])
def test_contradicting_metadata_are_refused(tmp_path, changes):
    write_network(tmp_path / 'net.onnx', **changes)
    with pytest.raises(InvalidValueError, match='no network of this package'):
        OnnxNetwork(tmp_path / 'net.onnx')


def test_other_files_are_refused(tmp_path):
    write_onnx(tmp_path / 'other.onnx')
    (tmp_path / 'damaged.onnx').write_bytes((tmp_path / 'other.onnx').read_bytes()[:100])
    for name in ('other', 'damaged'):
        with pytest.raises(InvalidValueError, match='no network of this package'):
            OnnxNetwork(tmp_path / f'{name}.onnx')
    with pytest.raises(MissingFileError, match=r'--onnx: got .*none.onnx'):
        OnnxNetwork(tmp_path / 'none.onnx')


def test_missing_gpu_is_named(tmp_path):
    write_network(tmp_path / 'net.onnx')
    onnxruntime = pytest.importorskip('onnxruntime')
    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('has a GPU')
    with pytest.raises(InvalidValueError, match="--device: got 'cuda:0'"):
        OnnxNetwork(tmp_path / 'net.onnx', 'cuda:0')
