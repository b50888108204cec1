"""Tests of loading crops: the pixels of mmcv, and an error for every damaged file."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from abaw_mm.datasets import (
    LoadFaceCrop,
    UnreadableFrameError,
)
from abaw_mm.datasets.crops import load_face_crop


@pytest.fixture
def image(tmp_path):
    """Return a function that writes a crop with a suffix and a mode."""

    def write(suffix, mode='RGB'):
        rng = np.random.default_rng(0)
        pixels = np.kron(rng.integers(0, 255, (14, 14, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        path = tmp_path / f'00001{suffix}'
        Image.fromarray(pixels).convert(mode).save(path)
        return path

    return write


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_pixels_equal_mmcv(image, suffix, mode):
    info = dict(img_path=str(image(suffix, mode)), gt_label=3)
    ours, stock = LoadFaceCrop()(dict(info)), LoadImageFromFile()(dict(info))
    np.testing.assert_array_equal(ours.pop('img'), stock.pop('img'))
    assert ours == stock


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda data: b'', 'an empty file'),
        (lambda data: data[:-2], 'Premature end'),
        (lambda data: data[: len(data) // 2], 'Premature end'),
        (lambda data: data[:10], '00001.jpg: got '),
        (lambda data: b'<html>' + data, 'cannot identify image'),
    ],
)
def test_rejects_damaged_jpeg(image, damage, message):
    path = image('.jpg')
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnreadableFrameError, match=message) as error:
        LoadFaceCrop()(dict(img_path=str(path)))
    assert str(path) in str(error.value) and 'unreadable' in str(error.value)


def test_rejects_corrupt_data_that_opencv_accepts(image):
    path = image('.jpg')
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    wrong = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert wrong is not None and wrong.shape == (112, 112, 3)
    with pytest.raises(UnreadableFrameError, match='Corrupt JPEG data'):
        LoadFaceCrop()(dict(img_path=str(path)))


@pytest.mark.parametrize('mode', ['I;16', 'I', 'F'])
def test_rejects_more_than_8_bits(tmp_path, mode):
    """Pillow would convert them to white."""
    path = tmp_path / ('00001.png' if mode == 'I;16' else '00001.tiff')
    Image.new(mode, (8, 8), 300).save(path)
    with pytest.raises(UnreadableFrameError, match='more than 8 bits'):
        LoadFaceCrop()(dict(img_path=str(path)))


def test_other_errors_of_the_disk_pass_through(image, monkeypatch):
    def fails(path, backend_args):
        raise OSError(24, 'Too many open files')

    monkeypatch.setattr(load_face_crop, 'get', fails)
    with pytest.raises(OSError, match='Too many open files'):
        LoadFaceCrop()(dict(img_path=str(image('.jpg'))))


def test_rejects_truncated_png_and_missing_file(image):
    path = image('.png')
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableFrameError, match='00001.png'):
        LoadFaceCrop()(dict(img_path=str(path)))
    path.unlink()
    with pytest.raises(UnreadableFrameError, match='No such file'):
        LoadFaceCrop()(dict(img_path=str(path)))
