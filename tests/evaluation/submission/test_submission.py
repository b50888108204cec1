"""Submissions have every line of the list, in its order."""

import numpy as np
import pytest

from abaw_mm.datasets.annotations import HEADER, LIST_HEADER
from abaw_mm.errors import UserError
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.submission.check_submission import check_submission
from abaw_mm.evaluation.submission.gap_filler import GapFiller
from abaw_mm.evaluation.submission.submission import Submission
from abaw_mm.structures import FrameTable


def make_predictions(rows):
    """Make predictions with probability 1 from ``(clip, frame, class)``."""
    clip, frame_no, label = zip(*sorted(rows), strict=True)
    table = FrameTable.from_rows(clip, frame_no)
    columns = dict(
        gt_label=np.full(len(table), -1, np.int32),
        pred_label=np.array(label, np.int32),
        pred_score=np.eye(8, dtype=np.float32)[list(label)],
    )
    return Predictions(table.clips, table.clip_id, table.frame_no, columns)


ROWS = [('z_left', 1, 3), ('z_left', 3, 4), ('a b', 2, 7), ('unasked', 1, 0)]


@pytest.fixture(params=['', ',', ',0', ',0\r'])
def frames(request, write_frame_list, tmp_path):
    """The list, with the line ends of each edition."""
    return write_frame_list(tmp_path / 'test_set_format.txt', request.param)


def test_list_format(frames, tmp_path):
    submission = Submission.answer(frames, make_predictions(ROWS), GapFiller('previous'))
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
    assert submission['is_filled'].tolist() == [False, True, False, True, False]
    assert check_submission(tmp_path / 'out.txt', frames) == []


def test_per_clip_format(frames, tmp_path):
    submission = Submission.answer(frames, make_predictions(ROWS), GapFiller('nearest'))
    submission.write_per_clip(tmp_path / 'out')
    texts = {p.name: p.read_bytes().decode() for p in (tmp_path / 'out').iterdir()}
    assert texts == {'z_left.txt': f'{HEADER}\n3\n3\n4\n', 'a b.txt': f'{HEADER}\n7\n7\n'}
    assert check_submission(tmp_path / 'out', frames) == []
    with pytest.raises(UserError, match='already exists, .* give another --out'):
        submission.write_per_clip(tmp_path / 'out')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['out', 'test_set_format.txt']


def test_per_clip_format_needs_all_frames(frames, tmp_path):
    submission = Submission.answer(frames, make_predictions(ROWS), GapFiller())
    submission.frame_no[-1] = 3  # frame 2 is missing
    with pytest.raises(ValueError, match=r"frame \[3\] of 'a b' .* --format list"):
        submission.write_per_clip(tmp_path / 'deep/out')
    assert not (tmp_path / 'deep').exists()
