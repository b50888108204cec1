"""Read the annotation files of the multi-task track."""

import re

import numpy as np
import pytest

from abaw_mm.datasets.annotations import (
    HEADER,
    LIST_HEADERS,
    is_multi_task_file,
    read_frame_list,
    read_multi_task,
)
from abaw_mm.errors import InvalidValueError

HEAD = 'image,valence,arousal,expression,AU1,...'
UNITS = ','.join('010010010010')
ROW = f'video1/00002.jpg,0.5,-0.25,4,{UNITS}'


def write(tmp_path, *lines):
    path = tmp_path / 'training_set_annotations.txt'
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_rows_equal_a_plain_parser(tmp_path):
    rng = np.random.default_rng(0)
    rows, clips = [], ['b', 'video1_left', 'a c']
    for number in range(400):
        va = rng.uniform(-1, 1, 2).round(3).tolist() if rng.random() < 0.7 else [-5, -5]
        rest = [rng.integers(-1, 8), *rng.integers(-1, 2, 12)]
        rows.append((clips[number * 3 // 400], rng.integers(1, 99), va, rest))
    lines = [
        f'{c}/{n:05d}.jpg,' + ','.join(f'{x}' for x in (*va, *rest)) for c, n, va, rest in rows
    ]
    table = read_multi_task(write(tmp_path, HEAD, *lines))
    expected = sorted(rows, key=lambda row: row[0])  # grouped by clip, in the order of the file
    assert table.clip.tolist() == [row[0] for row in expected]
    assert table.frame_no.tolist() == [row[1] for row in expected]
    np.testing.assert_array_equal(table['va'], np.float32([row[2] for row in expected]))
    np.testing.assert_array_equal(table['label'], [row[3][0] for row in expected])
    np.testing.assert_array_equal(table['au'], [row[3][1:] for row in expected])
    assert len(table.find_duplicates()) > 0  # repeated images are rows of their own
    assert read_multi_task(write(tmp_path, HEAD, *lines), clips=['b']).clips == ['b']


def test_comma_at_the_end_is_accepted(tmp_path):
    table = read_multi_task(write(tmp_path, HEAD, ROW + ','))
    assert table['au'].tolist() == [[0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]]


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ([HEAD], 'got 1 line without any annotation'),
        ([ROW, ROW], 'line 1: got the annotation .*, expected a header'),
        ([HEADER, '4'], "of the EXPR track: set task='expr'"),
        ([HEAD, ROW, 'video1/00002.jpg,0.5,0'], 'line 3: got .*, expected <clip>/00001.jpg, then'),
        ([HEAD, ROW, ROW.replace('0.5', '1.5')], r'line 3: got .*1.5.* \(1 such lines\)'),
        ([HEAD, ROW.replace(',4,', ',8,')], 'line 2: got'),
        ([HEAD, ROW.replace(',4,', ',4.5,')], 'line 2: got'),
        ([HEAD, ROW[:-1] + '2'], 'line 2: got'),
        ([HEAD, ROW.replace('0.5', 'nan')], 'line 2: got'),
        ([HEAD, ROW.replace('video1/', '')], 'line 2: got the image .00002.jpg.'),
        ([HEAD, ROW.replace('00002.jpg', '2')], 'line 2: got the image'),
        ([HEAD, ROW.replace('video1', '..')], r"got the clip name '\.\.'"),
    ],
)
def test_bad_files_are_refused_with_the_line(tmp_path, lines, message):
    path = write(tmp_path, *lines)
    with pytest.raises(InvalidValueError, match=f'^{re.escape(str(path))}.*{message}'):
        read_multi_task(path)


def test_unknown_clip_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match="clips: got 'x', not found in"):
        read_multi_task(write(tmp_path, HEAD, ROW), clips=['x'])


def test_annotations_and_list_are_told_apart(tmp_path):
    assert is_multi_task_file(write(tmp_path, HEAD, ROW))
    assert not is_multi_task_file(write(tmp_path, LIST_HEADERS['mtl'], 'video1/00002.jpg,'))


@pytest.mark.parametrize('task', LIST_HEADERS)
def test_lists_of_all_tracks(tmp_path, task):
    rows = ['b/00002.jpg,', 'b/00007.jpg', 'a/00001.jpg,']
    path = write(tmp_path, LIST_HEADERS[task], *rows)
    table = read_frame_list(path, task=task)
    assert table.name_frames() == ['b/2', 'b/7', 'a/1']
    for other in set(LIST_HEADERS) - {task}:
        with pytest.raises(
            InvalidValueError, match=f"of the {task.upper()} track: set task='{task}'"
        ):
            read_frame_list(path, task=other)
    repeated = write(tmp_path, LIST_HEADERS[task], *rows, rows[0])
    if task == 'mtl':
        assert len(read_frame_list(repeated, task=task)) == 4
    else:
        with pytest.raises(InvalidValueError, match='b/00002.jpg is listed twice'):
            read_frame_list(repeated, task=task)
