"""Curves of runs: values by step, over several starts, and the picture."""

import json

import pytest
from matplotlib.axes import Axes
from PIL import Image

from abaw_mm.visualization.curves import read_curves


def write_scalars(work_dir, start, rows, end=''):
    path = work_dir / start / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows) + end)


@pytest.fixture
def run(tmp_path):
    """A run that was killed after step 30 and resumed from step 20, with half a last line."""
    rows = [dict(lr=0.1 / step, loss=1 / step, iter=step, step=step) for step in (10, 20, 30)]
    score = {'affwild2/macro_f1': 20.0, 'step': 20, 'affwild2/f1_Fear': 1.0}
    write_scalars(tmp_path / 'run', '20260101_000000', [*rows, score], '{"lr": 0.')
    rows = [dict(lr=0.5, loss=7.0, step=30), {'affwild2/macro_f1': 33.0, 'step': 40}]
    write_scalars(tmp_path / 'run', '20260102_000000', rows)
    return tmp_path / 'run'


def test_resumed_run_is_one_curve(run):
    curves = read_curves(run)
    assert curves['loss'] == {10: 0.1, 20: 0.05, 30: 7.0}
    assert curves['affwild2/macro_f1'] == {20: 20.0, 40: 33.0}


def test_picture_has_the_values(run, tmp_path, run_tool, monkeypatch):
    drawn = []
    plot = Axes.plot

    def spy(self, x, y, **options):
        drawn.append((list(x), list(y)))
        return plot(self, x, y, **options)

    monkeypatch.setattr(Axes, 'plot', spy)
    out = tmp_path / 'curves.png'
    status, text, _ = run_tool('visualization/plot_curves.py', run, '--out', out)
    assert status == 0 and 'run: affwild2/macro_f1 33.00 at step 40, best 33.00 at step 40' in text
    assert drawn == [
        ([10, 20, 30], [0.1, 0.05, 7.0]),
        ([10, 20, 30], [0.01, 0.005, 0.5]),
        ([20, 40], [20.0, 33.0]),
    ]
    with Image.open(out) as picture:
        assert picture.width > 800


def test_scores_of_the_other_tracks_have_a_panel_of_their_own(tmp_path, run_tool, monkeypatch):
    names = ('ccc', 'ccc_valence', 'macro_f1', 'mean_f1', 'f1_AU1', 'p_score')
    rows = [dict(lr=0.1, loss=1.0, step=10)]
    rows.append({f'affwild2/{name}': at / 8 for at, name in enumerate(names)} | dict(step=10))
    write_scalars(tmp_path / 'run', '20260101_000000', rows)
    panels = []
    label = Axes.set_ylabel
    monkeypatch.setattr(
        Axes,
        'set_ylabel',
        lambda self, text: (panels.append((text, len(self.lines))), label(self, text)),
    )
    out = tmp_path / 'curves.png'
    status, text, _ = run_tool('visualization/plot_curves.py', tmp_path / 'run', '--out', out)
    assert status == 0 and 'affwild2/p_score 0.6250 at' in text and 'mean_f1 0.38 at' in text
    assert panels == [('loss', 1), ('learning rate', 1), ('score (%)', 2), ('score', 2)]


def test_mistakes_are_one_line(run, tmp_path, run_tool):
    tool = 'visualization/plot_curves.py'
    status, _, error = run_tool(tool, tmp_path / 'gone')
    assert status == 1 and 'expected the work dir of a training' in error
    status, _, error = run_tool(tool, run, '--scores', 'f1', '--out', tmp_path / 'x.png')
    assert status == 1 and "'f1', which no run logged" in error
    assert run_tool(tool, run, run)[0] == 2
    path = run / '20260101_000000/vis_data/scalars.json'
    path.write_text('{"lr": \n{}\n')
    status, _, error = run_tool(tool, run)
    assert status == 1 and 'scalars.json: line 1: got' in error
