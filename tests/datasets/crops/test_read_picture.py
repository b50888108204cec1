"""Pictures of every format and orientation; an error for every damaged file."""

import numpy as np
import pytest
from PIL import Image

from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError, read_crop
from abaw_mm.datasets.crops.read_picture import find_pictures, read_picture
from abaw_mm.errors import MissingFileError


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 255, (3, 5, 3)), np.ones((8, 8, 1))).astype(np.uint8)


@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_pixels_of_a_jpeg_are_those_of_crops(tmp_path, pixels, mode):
    path = tmp_path / 'a.jpg'
    Image.fromarray(pixels).convert(mode).save(path)
    np.testing.assert_array_equal(read_picture(path), read_crop(str(path))[..., ::-1])


# The stored picture of each orientation of EXIF, from the upright one
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.webp'])
@pytest.mark.parametrize('orientation', STORED)
def test_orientation_of_exif_is_applied(tmp_path, pixels, suffix, orientation):
    path, exif = tmp_path / f'a{suffix}', Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](pixels))
    kwargs = dict(lossless=True) if suffix == '.webp' else dict(quality=98)
    Image.fromarray(stored).save(path, exif=exif, **(kwargs if suffix in ('.webp', '.jpg') else {}))
    found = read_picture(path)
    assert found.shape == pixels.shape and found.dtype == np.uint8
    np.testing.assert_allclose(found[4::8, 4::8].astype(int), pixels[4::8, 4::8], atol=9)
    np.testing.assert_array_equal(read_crop(str(path))[..., ::-1], found)  # as in training


@pytest.mark.parametrize(
    ('mode', 'suffix', 'options'),
    [
        ('P', '.png', {}),
        ('P', '.gif', {}),
        ('1', '.png', {}),
        ('CMYK', '.tif', {}),
        ('CMYK', '.jpg', dict(quality=98)),
        ('RGB', '.bmp', {}),
        ('RGB', '.ppm', {}),
        ('RGB', '.webp', dict(lossless=True)),
        ('L', '.tif', {}),
    ],
)
def test_modes_are_converted_as_pillow_does(tmp_path, pixels, mode, suffix, options):
    path = tmp_path / f'a{suffix}'
    Image.fromarray(pixels).convert(mode).save(path, **options)
    with Image.open(path) as image:
        expected = np.asarray(image.convert('RGB'))
    np.testing.assert_array_equal(read_picture(path), expected)


def test_16_bits_are_scaled(tmp_path):
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    for name in ('a.png', 'a.tif'):
        Image.fromarray(values).save(tmp_path / name)
        assert read_picture(tmp_path / name)[0].tolist() == [[x] * 3 for x in (0, 1, 128, 255)]


def test_transparent_pixels_are_white(tmp_path):
    rgba = np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / 'a.png')
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), 'P')
    palette.putpalette([9, 9, 9, 9, 9, 9])
    palette.save(tmp_path / 'b.png', transparency=0)
    for name in ('a.png', 'b.png'):
        assert read_picture(tmp_path / name).tolist() == [[[255] * 3, [9] * 3]]


@pytest.mark.parametrize('suffix', ['.gif', '.tif', '.png', '.webp'])
def test_first_picture_of_several(tmp_path, suffix):
    first, second = (Image.new('RGB', (4, 3), colour) for colour in ('white', 'black'))
    first.save(tmp_path / f'a{suffix}', save_all=True, append_images=[second])
    found = read_picture(tmp_path / f'a{suffix}')
    assert found.shape == (3, 4, 3) and found.min() > 250


@pytest.mark.parametrize(
    ('name', 'damage', 'message'),
    [
        ('a.jpg', lambda data: data[: len(data) // 2], 'a.jpg: got '),
        ('a.png', lambda data: data[: len(data) // 2], 'a.png: got '),
        ('a.png', lambda data: data[:-30] + bytes([data[-30] ^ 1]) + data[-29:], 'checksum'),
        ('a.gif', lambda data: data[:40], 'a.gif: got '),
        ('a.jpg', lambda data: b'', 'an empty file'),
        ('a.jpg', lambda data: b'text', 'cannot identify image file, expected a whole picture'),
        (
            'a.jpg',
            lambda data: b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
            'cannot ident',
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path, pixels, name, damage, message):
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnreadableFrameError, match=message) as error:
        read_picture(path)
    assert str(path) in str(error.value) and error.value.reason


def test_other_pictures_are_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / 'a.tif')
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / 'b.tif')
    for name, message in (('a.tif', 'floating'), ('b.tif', 'more than 16 bits'), ('.', 'Is a dir')):
        with pytest.raises(UnreadableFrameError, match=message):
            read_picture(tmp_path / name)


def test_pictures_of_folders(tmp_path):
    pictures = ('b.JPG', 'a/2.png', 'a/10.webp', 'a/phone.heic')
    others = ('a/._2.png', 'a/x.txt', 'c.eps', '.thumbnails/b.jpg', 'a/.ipynb_checkpoints/2.png')
    for name in pictures + others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = [str(tmp_path / name) for name in ('a/10.webp', 'a/2.png', 'a/phone.heic')]
    assert find_pictures([tmp_path]) == [*folder, str(tmp_path / 'b.JPG')]
    text = tmp_path / 'a/x.txt'  # a named file is read whatever its suffix
    assert find_pictures([text, tmp_path / 'a', folder[1]]) == [str(text), *folder]
    (tmp_path / 'empty').mkdir()
    for name, message in (('empty', 'a folder without pictures'), ('no.jpg', 'no such file')):
        with pytest.raises(MissingFileError, match=message):
            find_pictures([tmp_path / name])
