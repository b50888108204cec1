"""postprocess_predictions.py and search_smoothing.py, as users type them."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import Predictions

TOOLS = Path(__file__).parents[2] / 'tools/analysis_tools'
HEADER = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two files of 6 clips whose class never changes, and scores that are wrong in places."""
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        label = np.arange(6).repeat(30)
        score = rng.dirichlet(np.ones(8), 180) * 0.7 + 0.3 * np.eye(8)[label]
        np.savez(
            tmp_path / f'{seed}.npz',
            clip=np.array([f'v{i}' for i in label]),
            frame_no=np.tile(np.arange(1, 31), 6),
            gt_label=label,
            classes=np.array(EXPRESSIONS),
            pred_score=score.astype(np.float32),
        )
    (tmp_path / 'ann').mkdir()
    counts = '\n'.join(map(str, [0] * 9 + list(range(8)) * 2))
    (tmp_path / 'ann/a.txt').write_text(f'{HEADER}\n{counts}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main_of(name):
    return runpy.run_path(str(TOOLS / f'{name}.py'))['main']


def accuracy(path):
    p = Predictions.read(path)
    return np.mean(p.pred_label == p.gt_label)


def test_postprocess(folder, capsys):
    main = main_of('postprocess_predictions')
    assert main(['0.npz', '1.npz', '--out', 'mean.npz']) == 0
    assert accuracy('mean.npz') > accuracy('0.npz')
    assert 'mean.npz: 180 frames, 0 of another class than in the mean of 2 files' in (
        capsys.readouterr().out
    )
    assert main(['0.npz', '--out', 'smooth.npz', '--width', '10', '--hold', '9']) == 0
    assert accuracy('smooth.npz') == 1
    changed = round((1 - accuracy('0.npz')) * 180)
    assert f'{changed} of another class than in 0.npz' in capsys.readouterr().out
    assert main(['0.npz', '--out', 'tau.npz', '--tau', '1', '--prior-from', 'ann']) == 0
    before, after = Predictions.read('0.npz').pred_score, Predictions.read('tau.npz').pred_score
    odds = (after[:, 0] / after[:, 1]) / (before[:, 0] / before[:, 1])
    np.testing.assert_allclose(odds, 2 / 11, rtol=1e-4)  # 11 frames are Neutral, 2 are Anger


def test_search(folder, capsys):
    assert (
        main_of('search_smoothing')(
            [
                '0.npz',
                '--methods',
                'box',
                'median',
                '--widths',
                '2',
                '20',
                '--folds',
                '3',
                '--json',
                'out.json',
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    figures = json.loads((folder / 'out.json').read_text())
    assert figures['candidates'][0] == 'none' and len(figures['scores']) == 5
    gain = figures['held_out'] - figures['before']
    assert gain > 5 and f'gain on clips left out: {gain:+.2f}' in out
    assert figures['scores'][figures['best']] == pytest.approx(75)  # of 8 classes 6 are there


def test_mistakes_are_told(folder):
    main = main_of('postprocess_predictions')
    with pytest.raises(ValueError, match='--tau: got 1.0 without a prior'):
        main(['0.npz', '--out', 'x.npz', '--tau', '1'])
    with pytest.raises(SystemExit):
        main(['0.npz', '--out', 'x.npz', '--prior-from', 'ann'])
    with pytest.raises(ValueError, match='ends in one of .npz'):
        main(['0.npz', '--out', 'x.json'])
    assert not list(folder.glob('x.*'))
