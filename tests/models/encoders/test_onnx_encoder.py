import sys

import numpy as np
import pytest
import torch
from small_onnx import write_onnx

from abaw_mm.errors import MissingPackageError
from abaw_mm.models.encoders import ViewAverage
from abaw_mm.models.encoders.onnx_encoder import OnnxEncoder


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(5)]


def compute_features(images, conv):
    """The classifier without its last layer, in NumPy."""
    rgb = np.stack(images)[..., ::-1] / 255
    pixels = (rgb - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.maximum(pixels @ conv[:, :, 0, 0].T, 0).mean((1, 2))


@pytest.mark.parametrize(
    'options', [dict(), dict(batch=1), dict(batch=3), dict(channels_last=True), dict(size='h')]
)
def test_outputs_equal_those_of_numpy(images, tmp_path, options):
    path = tmp_path / 'face.onnx'
    conv, last = write_onnx(path, **options)
    size = 16 if options.get('size') else None
    features = compute_features(images, conv)
    for output, expected in (
        (None, features @ last),
        ('penultimate', features),
        ('features', features),
        ('positive', features),  # a map, which is averaged
        ('scores', features @ last),
    ):
        encoder = OnnxEncoder(path, output, size)
        np.testing.assert_allclose(ViewAverage(encoder)(images), expected, rtol=1e-4, atol=1e-5)
    assert encoder.name == 'onnx:face' and encoder.layer == 'scores' and len(encoder.sha256) == 64


def test_wrong_files_are_rejected(tmp_path):
    path = tmp_path / 'face.onnx'
    write_onnx(path, size='h')
    with pytest.raises(ValueError, match='--size: got none, and .*face.onnx takes any'):
        OnnxEncoder(path)
    with pytest.raises(ValueError, match="--output: got 'gone', expected 'penultimate' or a tens"):
        OnnxEncoder(path, 'gone', 16)
    with pytest.raises(FileNotFoundError, match='gone.onnx: no such file'):
        OnnxEncoder(tmp_path / 'gone.onnx')
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match='face.onnx: got a file that onnxruntime cannot run'):
        OnnxEncoder(path, None, 16)
    write_onnx(path, channels_last=True)
    grey = path.read_bytes().replace(b'\x08\x03', b'\x08\x01')  # one channel instead of three
    path.write_bytes(grey)
    with pytest.raises(ValueError, match='face.onnx: got'):
        OnnxEncoder(path)


def test_weights_in_other_files_are_rejected(tmp_path):
    onnx = pytest.importorskip('onnx')
    write_onnx(tmp_path / 'a.onnx')
    onnx.save_model(
        onnx.load(str(tmp_path / 'a.onnx')),
        str(tmp_path / 'b.onnx'),
        save_as_external_data=True,
        size_threshold=0,
    )
    with pytest.raises(ValueError, match="got weights in another file .'conv', 'last'."):
        OnnxEncoder(tmp_path / 'b.onnx')


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime'])
def test_missing_package_is_named(monkeypatch, package):
    pytest.importorskip('onnx')
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf'{package} .*pip install abaw_mm\[encoders\]'):
        OnnxEncoder('a.onnx')


def test_encoder_takes_tensors(tmp_path):
    conv, last = write_onnx(tmp_path / 'a.onnx')
    pixels = torch.rand(2, 3, 16, 16)
    features = torch.einsum('oi,nihw->nohw', torch.from_numpy(conv[:, :, 0, 0]), pixels)
    expected = features.relu().mean((2, 3)).numpy() @ last
    got = OnnxEncoder(tmp_path / 'a.onnx').encode(pixels)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
