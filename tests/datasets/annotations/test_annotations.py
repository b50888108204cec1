"""Tests of reading annotation files and lists of frames, and of rejecting invalid ones."""

import numpy as np
import pytest

from abaw_mm.datasets.annotations import (
    HEADER,
    HEADER_7,
    LIST_HEADER,
    find_annotation_files,
    read_annotation_folder,
    read_frame_list,
    read_labels,
)
from abaw_mm.errors import UserError


def write(path, *lines, end='\n'):
    path.write_text(end.join(map(str, lines)) + end)
    return path


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_read_labels(tmp_path, end):
    labels = [0, 7, -1, -1, 3]
    path = tmp_path / 'a.txt'
    path.write_bytes(end.join([HEADER, *map(str, labels)]).encode() + end.encode())
    assert read_labels(path).tolist() == labels
    assert read_labels(path).dtype == np.int8


def test_read_labels_accepts_blanks_and_byte_order_mark(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_bytes(b'\xef\xbb\xbf' + HEADER.replace(',', ', ').encode() + b'\n 1\n-1 \n\n\n')
    assert read_labels(path).tolist() == [1, -1]


def test_read_labels_of_seven_classes(tmp_path):
    assert read_labels(write(tmp_path / 'a.txt', HEADER_7, 6, -1)).tolist() == [6, -1]
    with pytest.raises(ValueError, match=r'a\.txt, line 3: got the label 7, expected -1\.\.6'):
        read_labels(write(tmp_path / 'a.txt', HEADER_7, 6, 7))


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
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
        ([HEADER, 0, '99999999999'], "line 3: got '99999999999'"),
    ],
)
def test_read_labels_rejects_invalid_files(tmp_path, lines, message):
    path = write(tmp_path / 'a.txt', *lines) if lines else tmp_path / 'a.txt'
    path.touch()
    with pytest.raises(ValueError, match=message) as error:
        read_labels(path)
    assert str(path) in str(error.value)


def test_read_annotation_folder(tmp_path):
    for clip in ('b', 'a b', '1-30-1280x720_left'):
        write(tmp_path / f'{clip}.txt', HEADER, 0)
    (tmp_path / '._b.txt').write_bytes(b'\0')
    (tmp_path / 'notes.md').touch()
    assert list(read_annotation_folder(tmp_path)) == ['1-30-1280x720_left', 'a b', 'b']
    assert list(read_annotation_folder(tmp_path, ['b'])) == ['b']
    assert find_annotation_files(tmp_path)['a b'] == tmp_path / 'a b.txt'
    with pytest.raises(ValueError, match="clips: got 'c', not found in"):
        read_annotation_folder(tmp_path, ['b', 'c'])
    with pytest.raises(FileNotFoundError, match='without any <clip>.txt'):
        read_annotation_folder(tmp_path / 'nothing')


@pytest.mark.parametrize('tail', ['', ',', ',0', '\r', ',\r', ',0\r'])
def test_read_frame_list(tmp_path, tail):
    rows = [f'{name}{tail}' for name in ('b c/00002.jpg', 'b c/00001.jpg', 'a_left/00001.jpg')]
    path = tmp_path / 'list.txt'
    lines = '\n'.join([LIST_HEADER + tail.strip(',0'), *rows, '', ''])
    path.write_text(lines, encoding='utf-8-sig' if '\r' in tail else 'utf-8', newline='')
    frames = read_frame_list(path)
    assert frames.clips == ['b c', 'a_left']  # in the order of the list
    assert frames.name_frames() == ['b c/2', 'b c/1', 'a_left/1']
    assert read_frame_list(path, clips=['a_left']).name_frames() == ['a_left/1']


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ([], 'without any frame'),
        ([LIST_HEADER], 'without any frame'),
        (['a/00001.jpg,'] * 2, 'line 1: got the header'),
        ([LIST_HEADER, 'a/00001.jpg,,'], "line 2: got 'a/00001.jpg,,'"),
        ([LIST_HEADER, 'a/00001.jpg,,0'], 'line 2'),
        ([LIST_HEADER, 'a/00001.jpg0'], 'line 2'),
        ([LIST_HEADER, 'a/00001.jpg,', 'a/1.jpg,'], "line 3: got 'a/1.jpg,'"),
        ([LIST_HEADER, '00001.jpg,'], 'line 2'),
        ([LIST_HEADER, 'a/4294967297.jpg,'], 'line 2: got the frame number .*at most 2147483647'),
        (
            [LIST_HEADER, f'a/{"9" * 5000}.jpg,'],
            'line 2: got the frame number .*at most 2147483647',
        ),
        ([LIST_HEADER, 'a/00001.jpg,3'], 'line 2'),
        ([LIST_HEADER, 'a/00001.jpg,', '', 'a/00002.jpg,'], 'line 3'),
        (
            [LIST_HEADER, 'a/00001.jpg,', 'b/00001.jpg,', 'a/00001.jpg,0'],
            'a/00001.jpg is listed twice',
        ),
    ],
)
def test_read_frame_list_rejects_invalid_lists(tmp_path, lines, message):
    path = write(tmp_path / 'list.txt', *lines)
    with pytest.raises(ValueError, match=message) as error:
        read_frame_list(path)
    assert 'list.txt' in str(error.value)


def encode_list(name, encoding='utf-8'):
    rows = [f'image_location,{HEADER}', 'video1/00001.jpg,', f'{name}/00002.jpg,']
    return '\n'.join(rows).encode(encoding)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (encode_list('b', 'utf-16'), r'line 1: got UTF-16, .*save it as UTF-8'),
        (encode_list('é', 'latin-1'), r'line 3: got bytes that are not UTF-8'),
        (encode_list('b').replace(b'00002', b'4294967297'), r'line 3: got the frame number'),
        (encode_list('b').replace(b'00002', b'9' * 5000), r'line 3: .*\(5000 characters\)'),
        (encode_list('x' * 9000), r'line 3: got the clip name .*\(9000 characters\)'),
        (b'', 'a list without any frame'),
    ],
)
def test_damaged_list_is_reported_in_one_short_line(tmp_path, content, message):
    path = tmp_path / 'list.txt'
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_frame_list(path)
    assert len(str(error.value)) < 700 and '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (f'{HEADER}\n1\n2'.encode('utf-16'), r'line 1: got UTF-16'),
        (f'{HEADER}\n1\n'.encode() + b'\xe9', r'line 3: got bytes that are not UTF-8'),
        (f'{HEADER};{"1;" * 4000}'.encode(), r'line 1: got the header .*\(8\d\d\d characters\)'),
        (f'{HEADER}\n{"1" * 9000}'.encode(), r'line 2: got .*\(9000 characters\)'),
        (f'{HEADER}\n1_0'.encode(), r"line 2: got '1_0', expected one integer"),
        (f'{HEADER}\n\u0663'.encode(), r'line 2: got .*, expected one integer'),
    ],
)
def test_damaged_annotation_is_reported_in_one_short_line(tmp_path, content, message):
    path = tmp_path / 'a.txt'
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_labels(path)
    assert len(str(error.value)) < 700 and '\n' not in str(error.value)


def test_folder_where_a_file_is_expected(tmp_path):
    (tmp_path / 'a.txt').mkdir()
    for read in (read_labels, read_frame_list):
        with pytest.raises(UserError, match=r'a\.txt: cannot be read \(Is a directory\)'):
            read(tmp_path / 'a.txt')
