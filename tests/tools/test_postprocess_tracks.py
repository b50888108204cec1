"""Smoothing of valence and arousal, and thresholds of action units."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.postprocessing.search_postprocessing import (
    THRESHOLDS,
    Candidates,
    search_postprocessing,
)
from abaw_mm.evaluation.postprocessing.seconds import Seconds
from abaw_mm.evaluation.predictions.steps import find_thresholds
from abaw_mm.structures import FrameTable

NUMBERS = np.array([1, 2, 3, 5, 6, 7, 8, 9, 14, 15])


def make_predictions(task, clips=('a', 'b'), size=10, seed=0):
    rng = np.random.default_rng(seed)
    numbers = NUMBERS if size == len(NUMBERS) else np.arange(size)
    table = FrameTable.from_clips({clip: numbers for clip in clips})
    total = len(table)
    if task == 'va':
        truth = rng.uniform(-1, 1, (total, 2)).astype(np.float32)
        columns = dict(gt_va=truth, pred_va=rng.uniform(-1, 1, (total, 2)).astype(np.float32))
    else:
        truth = (rng.random((total, 12)) < np.linspace(0.1, 0.6, 12)).astype(np.int32)
        noise = rng.normal(0, 0.15, (total, 12))
        score = np.clip(0.1 + 0.25 * truth + noise, 0, 1).astype(np.float32)  # 0.5 is too high
        columns = dict(gt_au=truth, pred_au=score)
    columns['time'] = table.frame_no / 25.0
    return Predictions(table.clips, table.clip_id, table.frame_no, columns)


def average_window(method, near, values, distance, width):
    if method == 'median':
        return np.median(values[near], axis=0)
    weight = near.astype(float)
    if method == 'gaussian':
        weight = np.exp(-0.5 * (distance / width) ** 2) * (abs(distance) <= 4 * width + 1e-6)
    return weight @ values / weight.sum()


@pytest.mark.parametrize('task', ['va', 'au'])
@pytest.mark.parametrize('method', ['box', 'gaussian', 'median'])
@pytest.mark.parametrize('width', [2, Seconds(0.16)])
def test_smoothing_equals_windows_by_hand(task, method, width):
    predictions = make_predictions(task)
    out = Postprocess(method=method, width=width)(predictions)
    assert out.steps == (f'smooth {method} {width}',)
    column = f'pred_{task}'
    is_time = isinstance(width, Seconds)
    position = NUMBERS / 25.0 if is_time else NUMBERS
    for rows in predictions.rows_by_clip():
        values = predictions[column][rows].astype(float)
        for at in range(len(NUMBERS)):
            distance = position - position[at]
            near = abs(distance) <= (width / 2 + 1e-6 if is_time else width)
            expected = average_window(method, near, values, distance, float(width))
            np.testing.assert_allclose(out[column][rows][at], expected, atol=1e-6)


@pytest.mark.parametrize(
    ('task', 'process', 'name'),
    [
        ('va', Postprocess(prior=(0.5, 0.5), tau=1), 'tau'),
        ('va', Postprocess(bias=(0.1,)), 'bias'),
        ('au', Postprocess(hold=5), 'hold'),
        ('va', Postprocess(threshold=(0.3,)), 'threshold'),
    ],
)
def test_option_without_meaning_for_the_track_is_an_error(task, process, name):
    with pytest.raises(ValueError, match=f"--{name}: got it for .* track '{task}', expected"):
        process(make_predictions(task))


@pytest.mark.parametrize('threshold', [(), (1.5,), (0.5, 0.5)])
def test_invalid_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match='--threshold: got .* expected one number in 0-1, or 12'):
        Postprocess(threshold=threshold)


def test_one_threshold_is_recorded_for_each_unit():
    out = Postprocess(threshold=(0.3,), width=2)(make_predictions('au'))
    assert out.steps == ('smooth box 2', 'threshold' + ' 0.3' * 12)
    assert find_thresholds(out.steps) == (0.3,) * 12
    with pytest.raises(ValueError, match='expected none after'):
        Postprocess(width=2)(out)


def test_thresholds_are_chosen_on_other_videos():
    clips = ['a', 'a_left', 'b', 'c', 'd']
    predictions = make_predictions('au', clips, size=120)
    candidates = Candidates(smooth=(), bias=(), threshold=THRESHOLDS)
    result = search_postprocessing([predictions], ['a'], candidates, num_folds=4)
    truth, score = predictions['gt_au'], predictions['pred_au']

    def choose(rows):
        """Choose thresholds by scikit-learn, one unit at a time."""
        order = sorted(THRESHOLDS, key=lambda x: abs(x - 0.5))
        return tuple(
            max(
                order,
                key=lambda x: f1_score(
                    truth[rows, k], score[rows, k] >= np.float32(x), zero_division=0
                ),
            )
            for k in range(12)
        )

    every = np.ones(len(predictions), bool)
    assert result.choice.threshold == choose(every)
    videos = np.array([clip.removesuffix('_left') for clip in predictions.clip])
    by_video = {video: choose(videos != video) for video in 'abcd'}
    by_fold = [choice.threshold for choice in result.stages[-1].by_fold]
    assert sorted(by_fold) == sorted(by_video.values())
    held_out = np.stack([score[i] >= np.float32(by_video[v]) for i, v in enumerate(videos)])
    expected = 100 * f1_score(truth, held_out, average='macro', zero_division=0)
    assert result.held_out == pytest.approx(expected)
    assert result.before < result.held_out <= result.claimed


def test_commands_find_and_record_thresholds(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_predictions('au', 'abcdef', size=60).write('p.npz')
    search = ('analysis_tools/search_postprocessing.py', 'p.npz', '--steps', 'threshold')
    status, out, err = run_tool(*search, '--folds', 3, '--json', 'found.json')
    assert status in (0, None), err
    assert 'held-out gain: +' in out and 'chosen on all clips: --threshold' in out
    flags = json.loads((tmp_path / 'found.json').read_text())['flags'].split()
    post = ('analysis_tools/postprocess_predictions.py', 'p.npz', '--out', 'q.npz')
    status, out, err = run_tool(*post, *flags)
    assert status in (0, None), err
    assert '0 with another pred_au than in p.npz' in out
    assert Predictions.read('q.npz').steps == ('threshold ' + ' '.join(flags[1:]),)


@pytest.mark.parametrize(
    ('task', 'flags', 'message'),
    [
        ('va', ['--steps', 'threshold'], "track 'va', expected a step of .*: weights, smooth$"),
        ('au', ['--steps', 'bias'], "--steps bias: got predictions of the track 'au', expected"),
        ('va', ['--gate-with', 'p.npz'], "--steps gate: got predictions of the track 'va'"),
    ],
)
def test_search_refuses_steps_of_other_tracks(
    run_tool, tmp_path, monkeypatch, task, flags, message
):
    monkeypatch.chdir(tmp_path)
    make_predictions(task).write('p.npz')
    status, _, err = run_tool('analysis_tools/search_postprocessing.py', 'p.npz', *flags)
    assert status == 1 and re.search(message, err, re.MULTILINE)


def test_commands_of_the_docs_run(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / 'docs/submission.md').read_text()
    block = next(b for b in text.split('```bash\n') if 'au.npz' in b).partition('```')[0]
    make_predictions('au', 'abcdef').write('au.npz')
    commands = block.replace('\\\n', ' ').strip().split('\n')
    assert len(commands) == 2
    for command in commands:
        _, tool, *flags = shlex.split(command)
        status, _, err = run_tool(tool.removeprefix('tools/'), *flags)
        assert status in (0, None), err
    assert Predictions.read('smooth.npz').steps[0] == 'smooth box 5'
