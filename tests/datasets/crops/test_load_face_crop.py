"""Tests of loading crops: the pixels of mmcv, and an error for every damaged file."""

import struct
import zlib

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


def test_orientation_of_exif_is_applied_as_by_mmcv(image):
    path, exif = image('.jpg'), Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as picture:
        picture.crop((0, 0, 48, 32)).save(path, exif=exif)
    info = dict(img_path=str(path))
    ours, stock = (load(dict(info))['img'] for load in (LoadFaceCrop(), LoadImageFromFile()))
    assert ours.shape == (48, 32, 3)
    np.testing.assert_array_equal(ours, stock)


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


def make_png(depth: int, color: int, channels: int) -> bytes:
    """Return a PNG of 4x4 pixels as its specification says, without Pillow."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    row = b'\0' + bytes(range(4 * channels * depth // 8))
    return b''.join(
        [
            b'\x89PNG\r\n\x1a\n',
            chunk(b'IHDR', struct.pack('>IIBBBBB', 4, 4, depth, color, 0, 0, 0)),
            chunk(b'IDAT', zlib.compress(row * 4)),
            chunk(b'IEND', b''),
        ]
    )


@pytest.mark.parametrize(('color', 'channels'), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_png_of_16_bits_is_refused_in_every_mode(tmp_path, color, channels):
    """Pillow drops the lower bits of 16-bit colours without a word."""
    path = tmp_path / '00001.png'
    path.write_bytes(make_png(8, color, channels))
    assert LoadFaceCrop()(dict(img_path=str(path)))['img'].shape == (4, 4, 3)
    path.write_bytes(make_png(16, color, channels))
    with pytest.raises(UnreadableFrameError, match=r'more than 8 bits \(a PNG of 16\)'):
        LoadFaceCrop()(dict(img_path=str(path)))


def test_every_flipped_bit_of_a_png_is_refused(tmp_path):
    path, data = tmp_path / '00001.png', make_png(8, 2, 3)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UnreadableFrameError):
            LoadFaceCrop()(dict(img_path=str(path)))


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'cannot identify image file'),
        (b'', 'an empty file'),
        (None, 'Is a directory'),
        (make_png(8, 2, 3)[:-12], 'unpack_from requires'),
    ],
)
def test_files_that_are_no_images_are_named(tmp_path, content, reason):
    path = tmp_path / '00001.jpg'
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UnreadableFrameError, match=rf'00001\.jpg: got .*{reason}'):
        LoadFaceCrop()(dict(img_path=str(path)))
