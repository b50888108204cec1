"""tools/analysis_tools/postprocess_predictions.py and search_postprocessing.py."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess

TOOL = 'analysis_tools/postprocess_predictions.py'
HEADER = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two files of six clips with constant labels and partly wrong scores."""
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


def accuracy(path):
    p = Predictions.read(path)
    return np.mean(p['pred_label'] == p['gt_label'])


def test_mean_smoothing_and_prior(folder, run_tool):
    status, out, _ = run_tool(TOOL, '0.npz', '1.npz', '--out', 'mean.npz')
    assert status == 0 and accuracy('mean.npz') > accuracy('0.npz')
    assert 'mean.npz: 180 frames, 0 with another class than in the mean of 2 files' in out
    smooth = ('--out', 'smooth.npz', '--width', 10, '--hold', 9)
    status, out, _ = run_tool(TOOL, '0.npz', *smooth)
    assert status == 0 and accuracy('smooth.npz') == 1
    changed = round((1 - accuracy('0.npz')) * 180)
    assert f'{changed} with another class than in 0.npz' in out
    prior = ('--tau', 1, '--prior-from', 'ann')
    assert run_tool(TOOL, '0.npz', '--out', 'tau.npz', *prior)[0] == 0
    before, after = (Predictions.read(name)['pred_score'] for name in ('0.npz', 'tau.npz'))
    odds = (after[:, 0] / after[:, 1]) / (before[:, 0] / before[:, 1])
    np.testing.assert_allclose(odds, 2 / 11, rtol=1e-4)  # 11 frames of Neutral, 2 of Anger
    content = dict(np.load('0.npz'))
    score = content['pred_score'][:, :7] / content['pred_score'][:, :7].sum(1, keepdims=True)
    content.update(pred_score=score, classes=content['classes'][:7])
    np.savez('7.npz', **content)
    status, _, error = run_tool(TOOL, '7.npz', '--out', 'tau.npz', *prior)
    assert status == 1 and 'got the shares of 8 classes for predictions of 7' in error


def test_widths_in_seconds(folder, run_tool):
    p = Predictions.read('0.npz')
    p.with_columns(time=p.frame_no / 25).write('video.npz')
    args = ('--method', 'median', '--width')
    assert run_tool(TOOL, 'video.npz', '--out', 'time.npz', *args, '0.40s')[0] == 0
    assert run_tool(TOOL, '0.npz', '--out', 'frames.npz', *args, 5)[0] == 0
    seconds, frames = Predictions.read('time.npz'), Predictions.read('frames.npz')
    np.testing.assert_array_equal(seconds['pred_score'], frames['pred_score'])
    assert seconds.steps == ('smooth median 0.4s',)
    search = ('analysis_tools/search_postprocessing.py', '--widths', '0.4s', 5, '--folds', 3)
    status, out, _ = run_tool(*search, 'video.npz')
    assert status == 0 and '--method box --width 0.4s' in out
    for tool in (search, (TOOL, '--out', 'x.npz', *args, '1s')):
        status, _, error = run_tool(*tool, '0.npz')
        assert status == 1 and 's: got predictions without time stamps' in error
    status, _, error = run_tool(TOOL, '0.npz', '--out', 'x.npz', '--width', '1.5')
    assert status == 2 and "got the width '1.5', expected frames, such as 25, or seconds" in error


def test_smoothing_twice_is_refused(folder, run_tool):
    assert run_tool(TOOL, '0.npz', '--out', 'smooth.npz', '--width', 3, '--hold', 2)[0] == 0
    assert Predictions.read('smooth.npz').steps == ('smooth box 3', 'hold 2')
    status, _, error = run_tool(TOOL, 'smooth.npz', '--out', 'twice.npz', '--width', 3)
    assert status == 1 and "after 'smooth box 3', 'hold 2', expected none" in error
    assert not (folder / 'twice.npz').exists()
    status, _, error = run_tool(
        'analysis_tools/search_postprocessing.py', 'smooth.npz', '--folds', 3
    )
    assert status == 1 and "after 'smooth box 3'" in error


def test_search_reports_the_gain_on_clips_left_out(folder, run_tool):
    flags = ['--methods', 'box', 'median', '--widths', 2, 20, '--folds', 3, '--json', 'out.json']
    status, out, _ = run_tool(
        'analysis_tools/search_postprocessing.py', '0.npz', *flags, '--steps', 'smooth'
    )
    assert status == 0
    figures = json.loads((folder / 'out.json').read_text())
    (stage,) = figures['stages']
    assert stage['scores'][0][0] == ['box', 0] and len(stage['scores']) == 5
    gain = figures['held_out'] - figures['before']
    assert gain > 5 and f'held-out gain: {gain:+.2f}' in out
    assert figures['claimed'] == pytest.approx(75)  # 6 of the 8 classes are present


def test_the_chosen_flags_give_the_claimed_score(folder, run_tool):
    search = ('analysis_tools/search_postprocessing.py', '0.npz', '1.npz', '--gate-with', '1.npz')
    narrow = ('--methods', 'box', '--widths', 1, '--folds', 3, '--json', 'out.json')
    status, out, error = run_tool(*search, *narrow)
    assert status == 0, error
    figures = json.loads((folder / 'out.json').read_text())
    assert [stage['step'] for stage in figures['stages']] == ['weights', 'gate', 'smooth', 'bias']
    flags = figures['flags'].split()
    assert f'chosen on all clips: {figures["flags"]}' in out
    flags += ['--gate-with', '1.npz'] if '--gate' in flags else []
    assert run_tool(TOOL, '0.npz', '1.npz', '--out', 'best.npz', *flags)[0] == 0
    p = Predictions.read('best.npz')
    f1 = f1_score(p['gt_label'], p['pred_label'], average=None, labels=range(8), zero_division=0)
    assert 100 * f1.mean() == pytest.approx(figures['claimed'])


def test_weights_gate_and_bias(folder, run_tool):
    gate = ('--gate', 0.6, '--gate-with', '1.npz', '--weights', 3, 1)
    bias = ('--bias', -0.5, *[0] * 6, 0.25)
    status, _, error = run_tool(TOOL, '0.npz', '1.npz', '--out', 'out.npz', *gate, *bias)
    assert status == 0, error
    assert Predictions.read('out.npz').steps == (
        'mean of 2 weights 0.75 0.25',
        'gate 0.6',
        'bias -0.5 0 0 0 0 0 0 0.25',
    )


@pytest.mark.parametrize(
    ('args', 'status', 'message'),
    [
        (['--out', 'x.npz', '--tau', 1], 1, '--tau: got 1.0 without a prior'),
        (['--out', 'x.npz', '--prior-from', 'ann'], 2, '--prior-from: got no --tau'),
        (['--out', 'x.npz', '--gate', 0.5], 2, '--gate and --gate-with: got one of them'),
        (['--out', 'x.npz', '--weights', 1, 2], 1, '--weights: got [1.0, 2.0] for 1 files'),
        (['--out', 'x.json'], 1, 'ends in one of .npz'),
        (['--out', 'x.npz', '--method', 'gaussian'], 2, '--method: has no effect without --width'),
        (['smooth.npz', '--out', 'x.npz'], 1, "mean with smooth.npz: got predictions after 'smoo"),
    ],
)
def test_user_errors(folder, run_tool, args, status, message):
    Postprocess(width=3)(Predictions.read('0.npz')).write('smooth.npz')
    got, _, error = run_tool(TOOL, '0.npz', *args)
    assert got == status and message in error
    assert not list(folder.glob('x.*'))
