"""Problems of a submission are found and described."""

import pytest

from abaw_mm.datasets.annotations import HEADER, LIST_HEADER
from abaw_mm.errors import UserError
from abaw_mm.evaluation.submission.check_submission import check_submission

GOOD = [
    LIST_HEADER,
    'z_left/00001.jpg,3',
    'z_left/00002.jpg,3',
    'z_left/00003.jpg,4',
    'a b/00001.jpg,0',
    'a b/00002.jpg,7',
]


@pytest.fixture
def check(write_frame_list, tmp_path):
    """Function that writes lines to a file and checks it."""

    def check(*lines, end='\n', encoding='utf-8', tail=True):
        write_frame_list(tmp_path / 'list.txt')
        text = end.join(lines) + (end if tail else '')
        (tmp_path / 'out.txt').write_text(text, encoding=encoding, newline='')
        return check_submission(tmp_path / 'out.txt', tmp_path / 'list.txt')

    return check


def change(**lines):
    """Replace lines of the valid file, ``line3='...'``, or remove them, ``line3=None``."""
    new = [lines.get(f'line{i}', line) for i, line in enumerate(GOOD, start=1)]
    return [line for line in new if line is not None]


def test_valid_submission_has_no_problem(check):
    assert check(*GOOD) == [] and check(*GOOD, tail=False) == []


@pytest.mark.parametrize(
    ('lines', 'problem'),
    [
        (change(line1='image_location,label'), "line 1: got the header 'image_location,label', "),
        (change(line1=None), "line 1: got the header 'z_left/00001.jpg,3', expected"),
        (
            change(line3=None),
            "1 of 5 frames are missing, in 1 clips ('z_left'): 'z_left/00002.jpg'",
        ),
        (change(line4='z_left/00004.jpg,0', line5=None), '2 of 5 frames are missing, in 2 clips'),
        (
            [*GOOD, 'b/00001.jpg,1'],
            '1 line for a frame that is not in the list, expected only frames of '
            "the list: line 7: 'b/00001.jpg'",
        ),
        (
            [*GOOD, 'z_left/00002.jpg,1'],
            "1 frames are repeated: 'z_left/00002.jpg (lines 3 and 7)'",
        ),
        ([GOOD[0], *GOOD[:3:-1], *GOOD[1:4]], 'line 3 has a b/00001.jpg, after a b/00002.jpg'),
        (
            change(line2='z_left/00001.jpg,8'),
            "1 line with a class out of range, expected 0..7: line 2: '8'",
        ),
        (change(line2='z_left/00001.jpg,-1'), "out of range, expected 0..7: line 2: '-1'"),
        (change(line2=f'z_left/00001.jpg,{"9" * 5000}'), 'out of range'),
        (change(line2='z_left/00001.jpg,3.0'), "not an integer, expected 0..7: line 2: '3.0'"),
        (change(line2='z_left/00001.jpg,Fear'), "not an integer, expected 0..7: line 2: 'Fear'"),
        (change(line2='z_left/00001.jpg, 3'), "not an integer, expected 0..7: line 2: ' 3'"),
        (change(line2='z_left/00001.jpg,'), "not an integer, expected 0..7: line 2: ''"),
        (
            change(line2='z_left/00001.jpg 3'),
            '1 line without a comma, expected z_left/00001.jpg,<cl',
        ),
        (change(line2=''), '1 lines are blank: 2'),
        ([*GOOD, '', ''], '2 lines are blank: 7, 8'),
        ([], 'the file is empty'),
    ],
)
def test_problem_is_described(check, lines, problem):
    assert problem in '\n'.join(check(*lines))


def test_one_mistake_is_one_problem(check):
    assert len(check(*change(line3=None))) == 1
    assert len(check(*[*GOOD, 'z_left/00002.jpg,1'])) == 1
    assert len(check(*change(line1=None))) == 1
    assert len(check(*change(line1='foo,bar'))) == 1


def test_line_ends_and_encoding_are_checked(check, tmp_path):
    assert check(*GOOD, end='\r\n') == [
        '6 lines end as on Windows or old Macs (CR), expected LF alone'
    ]
    assert 'byte order mark' in check(*GOOD, encoding='utf-8-sig')[0]
    assert 'not UTF-8' in check(*GOOD, encoding='utf-16')[0]
    with pytest.raises(FileNotFoundError, match='gone.txt: no such file'):
        check_submission(tmp_path / 'gone.txt', tmp_path / 'list.txt')


def test_folder_problems_name_the_file(tmp_path, check):
    check(*GOOD)
    folder = tmp_path / 'out'
    folder.mkdir()
    (folder / 'z_left.txt').write_text(f'{HEADER}\n3\n9\n')
    (folder / '.DS_Store').touch()
    assert check_submission(folder, tmp_path / 'list.txt') == [
        "1 files are missing: 'a b.txt'",
        "1 files belong to no clip of the list: '.DS_Store'",
        "z_left.txt: 1 line with a class out of range, expected 0..7: line 3: '9'",
        'z_left.txt: 2 classes, expected 3, one per frame',
    ]
    (folder / '.DS_Store').unlink()
    assert '1 files, expected 2, one per clip' in check_submission(folder, tmp_path / 'list.txt')


def test_long_lines_are_quoted_in_short(tmp_path, write_frame_list):
    frames = write_frame_list(tmp_path / 'list.txt')
    path = tmp_path / 'submission.txt'
    path.write_text('x' * 9000 + '\n' + 'y' * 9000)
    problems = check_submission(path, frames)
    assert len(problems) >= 3 and max(map(len, problems)) < 600
    assert any('(9000 characters)' in problem for problem in problems)


def test_folder_in_the_place_of_a_clip_is_named(tmp_path, write_frame_list):
    frames = write_frame_list(tmp_path / 'list.txt')
    (tmp_path / 'out/a b.txt').mkdir(parents=True)
    with pytest.raises(UserError, match=r'a b\.txt: cannot be read \(Is a directory\)'):
        check_submission(tmp_path / 'out', frames)
