"""Test that only files of this package are taken as exported networks."""

import numpy as np
import pytest
from small_onnx import write_network, write_onnx

from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.models.deploy.onnx_network import OnnxNetwork


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
