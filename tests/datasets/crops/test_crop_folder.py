"""Tests of file names of crops, and of listing them."""

import os

import numpy as np
import pytest

from abaw_mm.datasets.crops import crop_folder as crops_module
from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    FilenameTemplate,
    crop_path,
    list_crops,
)
from abaw_mm.errors import UserError


@pytest.mark.parametrize(
    ('template', 'name', 'number'),
    [
        ('{:05d}.jpg', '00012.jpg', 12),
        ('{:05d}.jpg', '123456.jpg', 123456),
        ('{:05d}.jpg', '12.jpg', -1),
        ('{:05d}.jpg', '000012.jpg', -1),
        ('{:05d}.jpg', '00012.png', -1),
        ('{:05d}.jpg', '0001a.jpg', -1),
        ('{:05d}.jpg', '.DS_Store', -1),
        ('frame_{:d}.png', 'frame_7.png', 7),
        ('frame_{}.png', 'frame_70.png', 70),
        ('img{:03d}', 'img1000', 1000),
    ],
)
def test_filename_template(template, name, number):
    filenames = FilenameTemplate(template)
    assert filenames.number(name) == number
    if number >= 0:
        assert filenames.name(number) == name


@pytest.mark.parametrize('template', ['{:05d}.jpg', '{:010d}.jpg', '{:025d}.jpg', '{}.jpg'])
@pytest.mark.parametrize('number', [0, 7, 2**31 - 1])
def test_numbers_up_to_int32_keep_their_value(template, number):
    filenames = FilenameTemplate(template)
    name = filenames.name(number)
    assert filenames.number(name) == filenames.numbers([name])[0] == number


def test_many_names_give_the_numbers_of_each():
    names = ['00012.jpg', '99999.jpg', '00012.png', '0001a.jpg', 'ü0012.jpg', '00/12.jpg']
    template = FilenameTemplate('{:05d}.jpg')
    for some in (names, [*names, '123456.jpg', 'thumbs.db'], []):
        assert template.numbers(some).tolist() == [template.number(name) for name in some]
    template = FilenameTemplate('bild_für_{:05d}.jpg')
    names = [template.name(7), template.name(8), 'bild_fur_00007.jpg']
    assert template.numbers(names).tolist() == [7, 8, -1]


@pytest.mark.parametrize('template', ['00001.jpg', '{:s}.jpg', '{:05d}_{:05d}.jpg', '{a}.jpg'])
def test_rejects_templates_without_one_integer_field(template):
    with pytest.raises(ValueError, match='filename_tmpl'):
        FilenameTemplate(template)


def test_list_crops_of_two_roots(tmp_path):
    for root, numbers in (('old', (1, 3)), ('new', (3, 4))):
        (tmp_path / root / 'a').mkdir(parents=True)
        for number in numbers:
            (tmp_path / root / 'a' / f'{number:05d}.jpg').touch()
    (tmp_path / 'old/a/thumbs.db').touch()
    roots = [CropFolder(tmp_path / 'old'), CropFolder(tmp_path / 'new')]
    crops = list_crops(roots, ['a', 'b'])
    assert crops.clips == ['a', 'b'] and crops.name_frames() == ['a/1', 'a/3', 'a/4']
    assert crops['source'].tolist() == [0, 0, 2] and crops['source'].dtype == np.int8
    pairs = zip(crops.frame_no, crops['source'], strict=True)
    paths = [crop_path(roots, 'a', number, source) for number, source in pairs]
    assert paths == [
        str(tmp_path / path) for path in ('old/a/00001.jpg', 'old/a/00003.jpg', 'new/a/00004.jpg')
    ]
    assert len(list_crops([], ['a'])) == 0


def test_clips_are_the_visible_folders(tmp_path):
    for name in ('b', 'a b', '1-30-1280x720_left', '.hidden'):
        (tmp_path / name).mkdir()
    (tmp_path / 'notes.txt').touch()
    assert CropFolder(tmp_path).clips() == ['1-30-1280x720_left', 'a b', 'b']


def test_result_does_not_depend_on_listing_order(tmp_path, monkeypatch):
    (tmp_path / 'a').mkdir()
    for number in (2, 1, 3):
        (tmp_path / 'a' / f'{number:05d}.jpg').touch()
    expected = list_crops([CropFolder(tmp_path)], ['a']).frame_no.tolist()
    listdir = os.listdir
    monkeypatch.setattr(crops_module.os, 'listdir', lambda path: listdir(path)[::-1])
    assert list_crops([CropFolder(tmp_path)], ['a']).frame_no.tolist() == expected == [1, 2, 3]


def test_png_beside_jpg(tmp_path):
    for name in ('00001.png', '00002.jpg', '00002.png', '00003.bmp'):
        (tmp_path / 'a').mkdir(exist_ok=True)
        (tmp_path / 'a' / name).touch()
    root = CropFolder(tmp_path)
    numbers, spellings = root.frames('a')
    names = [
        os.path.basename(root.path('a', n, v)) for n, v in zip(numbers, spellings, strict=True)
    ]
    assert names == ['00001.png', '00002.jpg']
    names = [
        os.path.basename(CropFolder(tmp_path, '{:05d}.png').path('a', n, v))
        for n, v in zip(*CropFolder(tmp_path, '{:05d}.png').frames('a'), strict=True)
    ]
    assert names == ['00001.png', '00002.png']


@pytest.mark.parametrize('template', ['{:05d}.jpg', '{:010d}.jpg'])
def test_frame_numbers_beyond_int32_are_refused(tmp_path, template):
    """2**32 + 1 would wrap to 1."""
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/4294967297.jpg').touch()
    with pytest.raises(UserError, match=r"/a: got the frame number '4294967297', .*2147483647"):
        CropFolder(tmp_path, template).frames('a')
    (tmp_path / 'a/4294967297.jpg').rename(tmp_path / 'a/2147483647.jpg')
    assert CropFolder(tmp_path, template).frames('a')[0].tolist() == [2147483647]
