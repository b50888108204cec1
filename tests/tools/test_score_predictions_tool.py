"""tools/analysis_tools/score_predictions.py, as users type it."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / 'tools/analysis_tools/score_predictions.py'
HEADER = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'

spec = importlib.util.spec_from_file_location('score_predictions_tool', TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A clip of 6 frames, labelled 0 0 -1 0 1 1, with predictions 0, 1, 1 of frames 1, 4 and 6."""
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


def test_both_figures(folder, capsys):
    assert (
        tool.main(
            ['predictions.npz', '--ann-file', 'ann', '--clips', 'clips.txt', '--json', 'out.json']
        )
        == 0
    )
    out = capsys.readouterr().out
    # With a crop: Neutral and Anger 2/3. Filled are frame 2 as 0 and 5 as 1: both 4/5.
    assert [line.split('|')[2:-1] for line in out.splitlines() if 'macro-F1' in line] == [
        ['       16.67 ', '      3 ', '        20.00 ', '      5 ']
    ]
    assert '2 labelled frames without a prediction' in out
    figures = json.loads((folder / 'out.json').read_text())
    assert figures['all_labelled']['f1_Anger'] == pytest.approx(80)
    assert figures['with_crop']['support_Neutral'] == 2


def test_one_figure_without_annotations(folder, capsys):
    assert tool.main(['predictions.npz', '--absent', 'skip']) == 0
    out = capsys.readouterr().out
    assert '66.67' in out and '--ann-file gives them' in out


def test_mistakes_are_told(folder):
    with pytest.raises(ValueError, match="'w', .*--empty-clip"):
        tool.main(['predictions.npz', '--ann-file', 'ann'])
    with pytest.raises(SystemExit):
        tool.main(['predictions.npz', '--clips', 'clips.txt'])
