"""Read the annotation files of the VA and AU tracks, and refuse files of other tracks by name."""

import re

import numpy as np
import pytest

from abaw_mm.datasets.annotations import (
    HEADER,
    HEADERS,
    find_annotation_files,
    read_action_units,
    read_annotation_folder,
    read_labels,
    read_valence_arousal,
)
from abaw_mm.errors import InvalidValueError, MissingFileError

VA, AU = HEADERS['va'][0], HEADERS['au'][0]
UNITS = ','.join(['0'] * 12)


def write(tmp_path, text):
    path = tmp_path / 'video1.txt'
    path.write_bytes(text.encode())
    return path


def test_valence_arousal_equals_a_plain_parser(tmp_path):
    rng = np.random.default_rng(0)
    expected = rng.uniform(-1, 1, (500, 2)).round(3)
    expected[::7] = -5
    lines = [','.join(map(repr, row)) for row in expected.tolist()]
    got = read_valence_arousal(write(tmp_path, '\n'.join([VA, *lines]) + '\n'))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected.astype(np.float32))


def test_action_units_equal_a_plain_parser(tmp_path):
    expected = np.random.default_rng(0).integers(-1, 2, (300, 12))
    lines = [','.join(map(str, row)) for row in expected.tolist()]
    got = read_action_units(write(tmp_path, '\n'.join([AU, *lines])))
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, expected)


def test_one_hidden_number_hides_valence_and_arousal(tmp_path):
    got = read_valence_arousal(write(tmp_path, f'{VA}\n-5,0.25\n0.5,-5\n0.5,-1\n'))
    assert got.tolist() == [[-5, -5], [-5, -5], [0.5, -1]]


@pytest.mark.parametrize(
    'text', ['{}\r\n0.5,-0.25\r\n', '\ufeff{}\n 0.5 , -0.25 \n\n', '{}\n.5,-25e-2']
)
def test_other_ways_to_write_numbers(tmp_path, text):
    path = write(tmp_path, text.format('valence, arousal'))
    assert read_valence_arousal(path).tolist() == [[0.5, -0.25]]


@pytest.mark.parametrize(
    ('read', 'text', 'message'),
    [
        (read_valence_arousal, '', 'is empty, expected the header .valence,arousal.'),
        (read_valence_arousal, VA, 'got the header and no annotation'),
        (read_valence_arousal, f'{VA}\n0,0\n0.1\n', "line 3: got '0.1', expected 2 numbers in"),
        (read_valence_arousal, f'{VA}\n0,0,0\n', 'line 2: got .0,0,0.'),
        (read_valence_arousal, f'{VA}\n0,0\n\n0,0\n', "line 3: got ''"),
        (read_valence_arousal, f'{VA}\n0,nan\n', "line 2: got '0,nan'"),
        (read_valence_arousal, f'{VA}\n0,inf\n', "line 2: got '0,inf'"),
        (
            read_valence_arousal,
            f'{VA}\n0,0\n0.5,1.5\n',
            r"line 3: got '0.5,1.5'.*\(1 such lines\)",
        ),
        (read_valence_arousal, f'{VA}\n0,-4\n', "line 2: got '0,-4'"),
        (read_valence_arousal, f'{VA}\n0;0\n', "line 2: got '0;0'"),
        (read_valence_arousal, f'{AU}\n{UNITS}\n', "of the AU track: set task='au'"),
        (read_valence_arousal, f'{HEADER}\n4\n', "of the EXPR track: set task='expr'"),
        (read_valence_arousal, 'v,a\n0,0\n', "got the header 'v,a', expected 'valence,arousal'"),
        (read_action_units, f'{AU}\n{UNITS}\n{UNITS[:-1]}2\n', 'line 3: got .*,2., expected 12'),
        (read_action_units, f'{AU}\n{UNITS[:-2]}\n', 'line 2: got'),
        (read_action_units, f'{AU}\n{UNITS[:-1]}0.5\n', 'line 2: got'),
        (read_action_units, f'{VA}\n0,0\n', "of the VA track: set task='va'"),
        (
            read_action_units,
            'AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25\n0,0,0,0,0,0,0,0\n',
            'the eight action units of the first edition, expected the 12',
        ),
        (read_labels, f'{VA}\n0,0\n', "of the VA track: set task='va'"),
        (read_labels, f'{AU}\n{UNITS}\n', "of the AU track: set task='au'"),
    ],
)
def test_bad_files_are_refused_with_the_line(tmp_path, read, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InvalidValueError, match=f'^{re.escape(str(path))}.*{message}'):
        read(path)


def test_folder_of_a_track(tmp_path):
    write(tmp_path, f'{VA}\n0.5,0\n')
    (got,) = read_annotation_folder(tmp_path, task='va').values()
    assert got.tolist() == [[0.5, 0]]
    (tmp_path / 'empty').mkdir()
    with pytest.raises(MissingFileError, match='annotations/AU_Detection_Challenge/Train_Set'):
        find_annotation_files(tmp_path / 'empty', 'au')
