"""tools/analysis_tools/score_predictions.py."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from abaw_mm.evaluation.postprocessing.postprocess import Postprocess

TOOL = 'analysis_tools/score_predictions.py'
HEADER = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A clip with labels 0 0 -1 0 1 1, and predictions 0, 1, 1 for frames 1, 4 and 6."""
    np.savez(
        tmp_path / 'predictions.npz',
        clip=np.array(['v'] * 3),
        frame_no=np.array([1, 4, 6]),
        gt_label=np.array([0, 0, 1]),
        pred_score=np.eye(8, dtype=np.float32)[[0, 1, 1]],
        classes=np.array(HEADER.split(',')),
    )
    (tmp_path / 'ann').mkdir()
    (tmp_path / 'ann/v.txt').write_text('\n'.join([HEADER, *'0 0 -1 0 1 1'.split(), '']))
    (tmp_path / 'ann/w.txt').write_text('\n'.join([HEADER, '3', '']))
    (tmp_path / 'clips.txt').write_text('v\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_both_figures_are_printed_and_written(folder, run_tool):
    flags = ('--ann-file', 'ann', '--clips', 'clips.txt', '--json', 'out.json')
    status, out, _ = run_tool(TOOL, 'predictions.npz', *flags)
    assert status == 0
    # With a crop, F1 of Neutral and Anger is 2/3. Frames 2 and 5 are filled with 0 and 1: 4/5.
    assert [line.split('|')[2:-1] for line in out.splitlines() if 'macro-F1' in line] == [
        ['       16.67 ', '      3 ', '        20.00 ', '      5 ']
    ]
    assert '2 labelled frames without a prediction' in out
    figures = json.loads((folder / 'out.json').read_text())
    assert figures['all_labelled']['f1_Anger'] == pytest.approx(80)
    assert figures['with_crop']['support_Neutral'] == 2


def test_only_one_figure_without_annotations(folder, run_tool):
    status, out, _ = run_tool(TOOL, 'predictions.npz', '--absent', 'skip')
    assert status == 0 and '66.67' in out and '--ann-file adds the figure' in out


def test_csv_has_the_counts_of_each_clip_and_class(folder, run_tool, make_noisy):
    predictions = make_noisy(3)
    predictions['gt_label'][5:9] = -1
    predictions.write('noisy.npz')
    status, out, _ = run_tool(TOOL, 'noisy.npz', '--csv', 'tables')
    assert status == 0 and 'source: res18, checkpoint ab\n' in out
    clips = list(csv.DictReader((folder / 'tables/clips.csv').open(newline='')))
    assert [row['clip'] for row in clips] == ['v00', 'v01', 'v02']
    label, pred = predictions['gt_label'], predictions['pred_label']
    for i, row in enumerate(clips):
        at = (predictions.clip_id == i) & (label != -1)
        assert int(row['frames']) == at.sum() == (60 if i else 56)
        assert row['accuracy'] == f'{100 * (label == pred)[at].mean():.2f}'
        for c, name in enumerate(HEADER.split(',')):
            expected = [np.sum(label[at] == c), np.sum(pred[at] == c)]
            expected.append(np.sum((label[at] == c) & (pred[at] == c)))
            kinds = ('labelled', 'predicted', 'correct')
            assert [int(row[f'{kind}_{name}']) for kind in kinds] == expected
    matrix = list(csv.reader((folder / 'tables/confusion.csv').open(newline='')))
    known = label != -1
    expected = confusion_matrix(label[known], pred[known], labels=range(8))
    assert [list(map(int, row[1:])) for row in matrix[1:]] == expected.tolist()
    assert matrix[3][0] == 'Disgust' and matrix[0][3] == 'predicted_Disgust'


def test_postprocessing_is_named(folder, run_tool, make_noisy):
    Postprocess(width=5, hold=3)(make_noisy(3)).write('smooth.npz')
    status, out, _ = run_tool(TOOL, 'smooth.npz', '--json', 'out.json')
    assert status == 0 and 'checkpoint ab, smooth box 5, hold 3\n' in out
    assert json.loads((folder / 'out.json').read_text())['steps'] == ['smooth box 5', 'hold 3']


def test_user_errors(folder, run_tool):
    status, _, error = run_tool(TOOL, 'predictions.npz', '--ann-file', 'ann')
    assert status == 1 and "'w'" in error and '--empty-clip' in error
    status, _, error = run_tool(TOOL, 'predictions.npz', '--clips', 'clips.txt')
    assert status == 2 and '--clips: has no effect without --ann-file' in error
    status, _, error = run_tool(TOOL, 'predictions.npz', '--fill', 'previous')
    assert status == 2 and '--fill: has no effect without --ann-file' in error
    command = ('predictions.npz', '--ann-file', 'ann', '--clips', 'clips.txt')
    (folder / 'clips.txt').write_text('v \n\n')
    assert run_tool(TOOL, *command)[0] == 0
    (folder / 'clips.txt').write_text('\n')
    status, _, error = run_tool(TOOL, *command)
    assert status == 1 and 'names no clip' in error
