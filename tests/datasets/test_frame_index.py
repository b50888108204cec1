"""Official files to columns, and every way in which they can be broken."""

import os
import time

import numpy as np
import pytest

from abaw_mm.datasets import frame_index
from abaw_mm.datasets.frame_index import (
    HEADER,
    HEADER_7,
    LIST_HEADER,
    FilenameTemplate,
    find_crops,
    join_labels_and_crops,
    list_crops,
    read_annotation_folder,
    read_frame_list,
    read_labels,
)


def write(path, *lines, end='\n'):
    path.write_text(end.join(map(str, lines)) + end)
    return path


@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_read_labels(tmp_path, end):
    labels = [0, 7, -1, -1, 3]
    path = tmp_path / 'a.txt'
    path.write_bytes(end.join([HEADER, *map(str, labels)]).encode() + end.encode())
    assert read_labels(path).tolist() == labels
    assert read_labels(path).dtype == np.int8


def test_read_labels_tolerates_blanks_and_bom(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_bytes(b'\xef\xbb\xbf' + HEADER.replace(',', ', ').encode() + b'\n 1\n-1 \n\n\n')
    assert read_labels(path).tolist() == [1, -1]


def test_read_labels_of_the_first_edition(tmp_path):
    assert read_labels(write(tmp_path / 'a.txt', HEADER_7, 6, -1)).tolist() == [6, -1]
    with pytest.raises(ValueError, match=r'a\.txt, line 3: got the label 7, expected -1\.\.6'):
        read_labels(write(tmp_path / 'a.txt', HEADER_7, 6, 7))


@pytest.mark.parametrize(('lines', 'message'), [
    ([], 'the annotation file is empty'),
    ([HEADER], 'got the header and no label'),
    (['0', '1'], r"line 1: got the header '0'"),
    (['Anger,Neutral', '1'], r"line 1: got the header 'Anger,Neutral'"),
    (['valence,arousal', '0.1,0.2'], 'EXPR'),
    ([HEADER, 0, 8], r'line 3: got the label 8, expected -1\.\.7'),
    ([HEADER, 0, -2], 'line 3: got the label -2'),
    ([HEADER, 0, -5, 1], 'line 3: got the label -5'),
    ([HEADER, 0, 12, 1], 'line 3: got the label 12'),
    ([HEADER, 0, 'x'], "line 3: got 'x'"),
    ([HEADER, 0, '1.0'], "line 3: got '1.0'"),
    ([HEADER, 0, '', 1], "line 3: got ''"),
    ([HEADER, 0, '1 2'], "line 3: got '1 2'"),
    ([HEADER, 0, '--'], "line 3: got '--'"),
    ([HEADER, 0, '1-'], "line 3: got '1-'"),
    ([HEADER, 0, '99999999999'], 'line 3: got the label'),
])
def test_read_labels_refuses(tmp_path, lines, message):
    path = write(tmp_path / 'a.txt', *lines) if lines else tmp_path / 'a.txt'
    path.touch()
    with pytest.raises(ValueError, match=message) as error:
        read_labels(path)
    assert str(path) in str(error.value)


def test_annotation_folder(tmp_path):
    for clip in ('b', 'a b', '1-30-1280x720_left'):
        write(tmp_path / f'{clip}.txt', HEADER, 0)
    (tmp_path / '._b.txt').write_bytes(b'\0')
    (tmp_path / 'notes.md').touch()
    assert list(read_annotation_folder(tmp_path)) == ['1-30-1280x720_left', 'a b', 'b']
    assert list(read_annotation_folder(tmp_path, ['b'])) == ['b']
    with pytest.raises(ValueError, match="clips: got 'c', which"):
        read_annotation_folder(tmp_path, ['b', 'c'])
    with pytest.raises(FileNotFoundError, match='without any <clip>.txt'):
        read_annotation_folder(tmp_path / 'nothing')


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


def crops_of(*numbers):
    return np.array(numbers, np.int32), np.zeros(len(numbers), np.int8)


def test_join_keeps_labelled_frames_with_a_crop():
    labels = {'b': np.array([5, -1, 6, 7], np.int8), 'a': np.array([0, 1], np.int8)}
    frames = join_labels_and_crops(labels, {'a': crops_of(2), 'b': crops_of(1, 2, 4)})
    assert frames.clips == ['a', 'b']
    assert frames.clip_id.tolist() == [0, 1, 1]
    assert frames.frame_no.tolist() == [2, 1, 4]  # line i, from 1, is file i
    assert frames.label.tolist() == [1, 5, 7]
    assert frames.counts['unlabelled'] == 1 and frames.counts['missing'] == 2


def test_join_refuses_crops_of_the_other_start():
    labels = {'a': np.zeros(3, np.int8)}
    with pytest.raises(ValueError, match='set start_index=0'):
        join_labels_and_crops(labels, {'a': crops_of(0, 1, 2)}, start_index=1)
    with pytest.raises(ValueError, match='set start_index=1'):
        join_labels_and_crops(labels, {'a': crops_of(1, 2, 3)}, start_index=0)
    frames = join_labels_and_crops(labels, {'a': crops_of(0, 2)}, start_index=0)
    assert frames.frame_no.tolist() == [0, 2]


def test_join_reports_crops_beyond_the_labels():
    frames = join_labels_and_crops({'a': np.zeros(2, np.int8)}, {'a': crops_of(1, 2, 3)})
    assert frames.frame_no.tolist() == [1, 2]
    assert frames.counts['overhang'] == [('a', 3, 2)]


def test_join_refuses_no_crop_at_all():
    with pytest.raises(FileNotFoundError, match='data_prefix'):
        join_labels_and_crops({'a': np.zeros(2, np.int8)}, {'a': crops_of()})


@pytest.mark.parametrize('tail', ['', '0'])
def test_frame_list(tmp_path, tail):
    rows = [f'{name},{tail}' for name in ('b c/00002.jpg', 'b c/00001.jpg', 'a_left/00001.jpg')]
    path = write(tmp_path / 'list.txt', LIST_HEADER, *rows)
    frames = read_frame_list(path)
    assert frames.clips == ['b c', 'a_left']  # in the list's order
    assert frames.clip_id.tolist() == [0, 0, 1]
    assert frames.frame_no.tolist() == [2, 1, 1]
    assert set(frames.label.tolist()) == {-1}
    found = find_crops(frames, {'b c': crops_of(1), 'a_left': crops_of(2)})
    assert found.root_id.tolist() == [-1, 0, -1]
    assert found.counts['missing'] == 2
    assert read_frame_list(path, clips=['a_left']).frame_no.tolist() == [1]


@pytest.mark.parametrize(('lines', 'message'), [
    ([], 'without any frame'),
    ([LIST_HEADER], 'without any frame'),
    (['a/00001.jpg,'] * 2, 'line 1: got the header'),
    ([LIST_HEADER, 'a/00001.jpg'], "line 2: got 'a/00001.jpg'"),
    ([LIST_HEADER, 'a/00001.jpg,', 'a/1.jpg,'], "line 3: got 'a/1.jpg,'"),
    ([LIST_HEADER, '00001.jpg,'], 'line 2'),
    ([LIST_HEADER, 'a/00001.jpg,3'], 'line 2'),
    ([LIST_HEADER, 'a/00001.jpg,', '', 'a/00002.jpg,'], 'line 3'),
    ([LIST_HEADER, 'a/00001.jpg,', 'b/00001.jpg,', 'a/00001.jpg,0'], 'a/00001.jpg is listed twice'),
])
def test_frame_list_refuses(tmp_path, lines, message):
    path = write(tmp_path / 'list.txt', *lines)
    with pytest.raises(ValueError, match=message) as error:
        read_frame_list(path)
    assert 'list.txt' in str(error.value)


def test_full_size_is_small_and_quick():
    """2.7 million frames in 594 clips: under 60 MB; the time is only bounded loosely here."""
    labels = {f'{i:03d}': np.zeros(4546, np.int8) for i in range(594)}
    crops = {clip: (np.arange(1, 4547, dtype=np.int32), np.zeros(4546, np.int8)) for clip in labels}
    start = time.perf_counter()
    frames = join_labels_and_crops(labels, crops)
    seconds = time.perf_counter() - start
    assert len(frames) == 594 * 4546
    columns = (frames.clip_id, frames.frame_no, frames.label, frames.root_id)
    assert sum(column.nbytes for column in columns) < 60e6 / 2
    assert seconds < 5  # benchmarks/frame_index.py measures it


def test_reading_does_not_depend_on_listing_order(tmp_path, monkeypatch):
    (tmp_path / 'a').mkdir()
    for number in (2, 1, 3):
        (tmp_path / 'a' / f'{number:05d}.jpg').touch()
    expected = list_crops([tmp_path], ['a'])['a'][0].tolist()
    listdir = os.listdir
    monkeypatch.setattr(frame_index.os, 'listdir', lambda path: listdir(path)[::-1])
    assert list_crops([tmp_path], ['a'])['a'][0].tolist() == expected == [1, 2, 3]
