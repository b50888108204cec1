"""score_predictions.py on the VA, AU and multi-task tracks."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.score_predictions import score_predictions
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import ACTION_UNITS

SIZE = 40


def ccc(x, y):
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def write(task, known, steps=()):
    """Write annotations of a clip, and predictions of some of its frames without annotations."""
    rng = np.random.default_rng(3)
    va = rng.uniform(-1, 1, (SIZE, 2)).round(3)
    au, label = rng.integers(0, 2, (SIZE, 12)), np.arange(SIZE) % 8
    va[5], au[7], label[9] = -5, -1, -1
    score = rng.dirichlet(np.ones(8), SIZE)
    columns = dict(
        pred_va=np.float32(rng.uniform(-1, 1, (SIZE, 2))),
        pred_au=np.float32(rng.random((SIZE, 12))),
        gt_va=np.full((SIZE, 2), -5, np.float32),
        gt_au=np.full((SIZE, 12), -1),
        pred_score=np.float32(score),
        pred_label=score.argmax(1),
        gt_label=np.full(SIZE, -1),
    )
    names = dict(va=('va',), au=('au',), mtl=('va', 'au', 'score', 'label'))[task]
    columns = {n: x for n, x in columns.items() if n.partition('_')[2] in names}
    table = FrameTable(['a'], np.zeros(SIZE, np.int32), np.arange(1, SIZE + 1), columns).take(known)
    Predictions(['a'], table.clip_id, table.frame_no, table.columns, steps=steps).write('p.npz')
    if task == 'mtl':
        rows = [
            ','.join(map(str, [f'a/{i + 1:05d}.jpg', *va[i], label[i], *au[i]]))
            for i in range(SIZE)
        ]
        lines = ['image,valence,arousal,expression,' + ','.join(ACTION_UNITS), *rows]
    else:
        header = 'valence,arousal' if task == 'va' else ','.join(ACTION_UNITS)
        lines = [header, *(','.join(map(str, row)) for row in (va if task == 'va' else au))]
    with open('a.txt', 'w') as file:
        file.write('\n'.join(lines) + '\n')
    return va, au, label, columns


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_scores_equal_plain_code(run_tool, tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    known = np.r_[0:20, 25:SIZE]
    limits = ['0.3'] * 6 + ['0.7'] * 6
    steps = () if task == 'va' else ('threshold ' + ' '.join(limits),)
    va, au, label, columns = write(task, known, steps)
    source = 'a.txt' if task == 'mtl' else '.'
    flags = ('--ann-file', source, '--json', 's.json')
    status, out, err = run_tool('analysis_tools/score_predictions.py', 'p.npz', *flags)
    assert status in (0, None), err
    scores = json.loads((tmp_path / 's.json').read_text())
    assert scores['num_filled'] == 5 and '5 labelled frames without a prediction' in out
    filled = {
        name: np.stack([np.interp(np.arange(SIZE), known, x) for x in columns[name][known].T], 1)
        for name in columns
        if name in ('pred_va', 'pred_au', 'pred_score')
    }
    for part, rows in (('with_crop', known), ('all_labelled', np.arange(SIZE))):
        total, found = 0.0, scores[part]
        if task in ('va', 'mtl'):
            at = rows[rows != 5]
            expected = np.mean([ccc(filled['pred_va'][at, k], va[at, k]) for k in (0, 1)])
            assert found['ccc'] == pytest.approx(expected, abs=1e-6)
            total += expected
        if task in ('au', 'mtl'):
            at = rows[rows != 7]
            units = filled['pred_au'][at] >= np.array(limits, float)
            expected = f1_score(au[at], units, average='macro')
            assert found['mean_f1'] == pytest.approx(100 * expected)
            total += expected
        if task == 'mtl':
            at = rows[rows != 9]
            predicted = filled['pred_score'][at].argmax(1)
            total += f1_score(label[at], predicted, average='macro', labels=range(8))
            assert found['p_score'] == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_predictions_without_annotations_are_an_error(run_tool, tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    write(task, np.arange(SIZE))
    status, _, err = run_tool('analysis_tools/score_predictions.py', 'p.npz')
    assert status == 1 and 'without annotations, expected some' in err


def test_command_of_the_docs_runs(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / 'docs/submission.md').read_text()
    block = next(b for b in text.split('```bash\n') if 'mtl.npz' in b).partition('```')[0]
    write('mtl', np.arange(SIZE))
    (tmp_path / 'p.npz').rename('mtl.npz')
    (tmp_path / 'a.txt').rename('validation_set_annotations.txt')
    _, tool, *flags = shlex.split(block)
    status, out, err = run_tool(tool.removeprefix('tools/'), *flags)
    assert status in (0, None) and 'p_score' in out, err


def test_folds_of_other_tracks_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('va', np.arange(SIZE))
    with pytest.raises(ValueError, match="got predictions of the track 'va', expected 'expr'"):
        score_predictions(Predictions.read('p.npz'))
