"""A submission answers every line of the list, in its order, whole or not at all."""

import numpy as np
import pytest

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.submission.check_submission import check_submission
from abaw_mm.evaluation.submission.gap_filler import GapFiller
from abaw_mm.evaluation.submission.submission import Submission

LIST_HEADER = 'image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'
HEADER = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'
FRAMES = [
    'z_left/00001.jpg',
    'z_left/00002.jpg',
    'z_left/00003.jpg',
    'a b/00001.jpg',
    'a b/00002.jpg',
]


def predictions(rows):
    """``(clip, frame, class)`` as predictions that are sure."""
    rows = sorted(rows)
    clips = sorted({row[0] for row in rows})
    label = np.array([row[2] for row in rows], np.int32)
    return Predictions(
        clips,
        np.array([clips.index(row[0]) for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int32),
        np.full(len(rows), -1, np.int32),
        label,
        np.eye(8, dtype=np.float32)[label],
        EXPRESSIONS,
    )


ROWS = [('z_left', 1, 3), ('z_left', 3, 4), ('a b', 2, 7), ('unasked', 1, 0)]


@pytest.fixture(params=['', ',', ',0', ',0\r'])
def frames(request, tmp_path):
    """The list, as its rows end in the editions."""
    path = tmp_path / 'test_set_format.txt'
    lines = [LIST_HEADER, *(f'{name}{request.param}' for name in FRAMES), '', '']
    path.write_text('\n'.join(lines), encoding='utf-8-sig', newline='')
    return path


def test_one_file(frames, tmp_path):
    submission, filled = Submission.answer(frames, predictions(ROWS), GapFiller('previous'))
    submission.write_list(tmp_path / 'out.txt')
    assert (tmp_path / 'out.txt').read_bytes().decode() == '\n'.join(
        [
            LIST_HEADER,
            'z_left/00001.jpg,3',
            'z_left/00002.jpg,3',
            'z_left/00003.jpg,4',
            'a b/00001.jpg,7',
            'a b/00002.jpg,7',
            '',
        ]
    )
    assert filled.filled.tolist() == [False, True, False, True, False]
    assert check_submission(tmp_path / 'out.txt', frames) == []


def test_a_file_a_clip(frames, tmp_path):
    submission, _ = Submission.answer(frames, predictions(ROWS), GapFiller('nearest'))
    submission.write_per_clip(tmp_path / 'out')
    texts = {p.name: p.read_bytes().decode() for p in (tmp_path / 'out').iterdir()}
    assert texts == {'z_left.txt': f'{HEADER}\n3\n3\n4\n', 'a b.txt': f'{HEADER}\n7\n7\n'}
    assert check_submission(tmp_path / 'out', frames) == []
    with pytest.raises(FileExistsError, match='remove it or give another --out'):
        submission.write_per_clip(tmp_path / 'out')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['out', 'test_set_format.txt']


def test_a_file_a_clip_whole_or_not_at_all(frames, tmp_path):
    submission, _ = Submission.answer(frames, predictions(ROWS), GapFiller())
    submission.frame_no[-1] = 3  # the list lacks frame 2, for which there would be no line
    with pytest.raises(ValueError, match=r"frame \[3\] of 'a b' .* --format list"):
        submission.write_per_clip(tmp_path / 'deep/out')
    assert not (tmp_path / 'deep').exists()


# --------------------------------------------------------------------------------------- checks

GOOD = [
    LIST_HEADER,
    'z_left/00001.jpg,3',
    'z_left/00002.jpg,3',
    'z_left/00003.jpg,4',
    'a b/00001.jpg,0',
    'a b/00002.jpg,7',
]


@pytest.fixture
def check(tmp_path):
    def check(*lines, end='\n', encoding='utf-8', tail=True):
        (tmp_path / 'list.txt').write_text('\n'.join([LIST_HEADER, *FRAMES]))
        text = end.join(lines) + (end if tail else '')
        (tmp_path / 'out.txt').write_text(text, encoding=encoding, newline='')
        return check_submission(tmp_path / 'out.txt', tmp_path / 'list.txt')

    return check


def changed(**lines):
    """The good file with lines replaced: ``line3='...'``, or left out: ``line3=None``."""
    new = [lines.get(f'line{i}', line) for i, line in enumerate(GOOD, start=1)]
    return [line for line in new if line is not None]


def test_good(check):
    assert check(*GOOD) == [] and check(*GOOD, tail=False) == []


@pytest.mark.parametrize(
    ('lines', 'problem'),
    [
        (changed(line1='image_location,label'), "line 1: got the header 'image_location,label', "),
        (changed(line1=None), "line 1: got the header 'z_left/00001.jpg,3', expected"),
        (
            changed(line3=None),
            "1 of 5 frames are missing, of 1 clips ('z_left'): 'z_left/00002.jpg'",
        ),
        (changed(line4='z_left/00004.jpg,0', line5=None), '2 of 5 frames are missing, of 2 clips'),
        (
            [*GOOD, 'b/00001.jpg,1'],
            '1 line for a frame that is not asked for, expected only those of '
            "the list: line 7: 'b/00001.jpg'",
        ),
        ([*GOOD, 'z_left/00002.jpg,1'], "1 frames come twice: 'z_left/00002.jpg (lines 3 and 7)'"),
        ([GOOD[0], *GOOD[:3:-1], *GOOD[1:4]], 'line 3 has a b/00001.jpg, after a b/00002.jpg'),
        (
            changed(line2='z_left/00001.jpg,8'),
            "1 line with a class out of range, expected 0..7: line 2: '8'",
        ),
        (changed(line2='z_left/00001.jpg,-1'), "out of range, expected 0..7: line 2: '-1'"),
        (changed(line2=f'z_left/00001.jpg,{"9" * 5000}'), 'out of range'),
        (changed(line2='z_left/00001.jpg,3.0'), "no plain integer, expected 0..7: line 2: '3.0'"),
        (changed(line2='z_left/00001.jpg,Fear'), "no plain integer, expected 0..7: line 2: 'Fear'"),
        (changed(line2='z_left/00001.jpg, 3'), "no plain integer, expected 0..7: line 2: ' 3'"),
        (changed(line2='z_left/00001.jpg,'), "no plain integer, expected 0..7: line 2: ''"),
        (
            changed(line2='z_left/00001.jpg 3'),
            '1 line without a comma, expected z_left/00001.jpg,<cl',
        ),
        (changed(line2=''), '1 lines are blank: 2'),
        ([*GOOD, '', ''], '2 lines are blank: 7, 8'),
        ([], 'the file is empty'),
    ],
)
def test_problems_in_words(check, lines, problem):
    assert problem in '\n'.join(check(*lines))


def test_only_what_is_wrong_is_told(check):
    assert len(check(*changed(line3=None))) == 1
    assert len(check(*[*GOOD, 'z_left/00002.jpg,1'])) == 1
    assert len(check(*changed(line1=None))) == 1
    assert len(check(*changed(line1='foo,bar'))) == 1


def test_line_ends_and_encoding(check, tmp_path):
    assert check(*GOOD, end='\r\n') == [
        '6 lines end as on Windows or old Macs (CR), expected LF alone'
    ]
    assert 'byte order mark' in check(*GOOD, encoding='utf-8-sig')[0]
    assert 'not UTF-8' in check(*GOOD, encoding='utf-16')[0]
    with pytest.raises(FileNotFoundError, match='gone.txt: no such file'):
        check_submission(tmp_path / 'gone.txt', tmp_path / 'list.txt')


def test_problems_of_a_folder(tmp_path, check):
    check(*GOOD)
    folder = tmp_path / 'out'
    folder.mkdir()
    (folder / 'z_left.txt').write_text(f'{HEADER}\n3\n9\n')
    (folder / '.DS_Store').touch()
    assert check_submission(folder, tmp_path / 'list.txt') == [
        "1 files are missing: 'a b.txt'",
        "1 files are of no clip of the list: '.DS_Store'",
        "z_left.txt: 1 line with a class out of range, expected 0..7: line 3: '9'",
        'z_left.txt: 2 classes, expected 3, one a frame',
    ]
    (folder / '.DS_Store').unlink()
    assert '1 files, expected 2, one a clip' in check_submission(folder, tmp_path / 'list.txt')
