"""File names of crops, and what of them lies on disk."""

import os

import pytest

from abaw_mm.datasets import crops as crops_module
from abaw_mm.datasets.crops import FilenameTemplate, list_crops


@pytest.mark.parametrize(('template', 'name', 'number'), [
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
])
def test_filename_template(template, name, number):
    filenames = FilenameTemplate(template)
    assert filenames.number(name) == number
    if number >= 0:
        assert filenames.name(number) == name


@pytest.mark.parametrize('template', ['00001.jpg', '{:s}.jpg', '{:05d}_{:05d}.jpg', '{a}.jpg'])
def test_filename_template_refuses(template):
    with pytest.raises(ValueError, match='filename_tmpl'):
        FilenameTemplate(template)


def test_list_crops_of_two_roots(tmp_path):
    for root, numbers in (('old', (1, 3)), ('new', (3, 4))):
        (tmp_path / root / 'a').mkdir(parents=True)
        for number in numbers:
            (tmp_path / root / 'a' / f'{number:05d}.jpg').touch()
    (tmp_path / 'old/a/thumbs.db').touch()
    crops = list_crops([tmp_path / 'old', tmp_path / 'new'], ['a', 'b'])
    assert [column.tolist() for column in crops['a']] == [[1, 3, 4], [0, 0, 1]]
    assert [column.tolist() for column in crops['b']] == [[], []]


def test_reading_does_not_depend_on_listing_order(tmp_path, monkeypatch):
    (tmp_path / 'a').mkdir()
    for number in (2, 1, 3):
        (tmp_path / 'a' / f'{number:05d}.jpg').touch()
    expected = list_crops([tmp_path], ['a'])['a'][0].tolist()
    listdir = os.listdir
    monkeypatch.setattr(crops_module.os, 'listdir', lambda path: listdir(path)[::-1])
    assert list_crops([tmp_path], ['a'])['a'][0].tolist() == expected == [1, 2, 3]
