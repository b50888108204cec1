"""The search of postprocessing for the VA, the AU and the multi-task track."""

import json
from dataclasses import replace

import numpy as np
import pytest

from abaw_mm.datasets.folds import find_strata, split_folds
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.ensemble import average
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.postprocessing.search_postprocessing import (
    Candidates,
    Choice,
    list_weights,
    search_postprocessing,
)
from abaw_mm.evaluation.predictions.score_tracks import score_track
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import get_targets

CLIPS = ('a', 'a_left', 'b', 'c', 'd', 'e')
SCORES = dict(va='ccc', au='mean_f1', mtl='p_score')
STEPS = dict(
    va=('weights', 'smooth'),
    au=('weights', 'smooth', 'threshold'),
    mtl=('weights', 'smooth', 'bias', 'threshold'),
)
VALUES = dict(
    weights=list_weights(2, 2),
    smooth=[('box', 1), ('median', 4)],
    bias=(-0.5, 0.5),
    threshold=(0.2, 0.35),
)


def make_predictions(task, seed=0, frames=40):
    """Draw slow annotations, of which some are hidden, and predictions that jump around them."""
    truth, noise = np.random.default_rng(0), np.random.default_rng(seed + 1)
    table = FrameTable.from_clips({clip: np.arange(1, frames + 1) for clip in CLIPS})
    size = len(table)
    va = 0.8 * np.sin(np.arange(size)[:, None] / 8 + [0, 2])
    label = truth.integers(0, 8, size // 10).repeat(10)
    au = (truth.random((size // 10, 12)) < np.linspace(0.1, 0.6, 12)).repeat(10, axis=0)
    score = np.exp(noise.normal(0, 1, (size, 8)))
    score[np.arange(size), label] *= 3
    score = (score / score.sum(axis=1, keepdims=True)).astype(np.float32)
    columns = dict(
        gt_va=va.astype(np.float32),
        pred_va=np.clip(0.5 * va + noise.normal(0, 0.4, va.shape), -1, 1).astype(np.float32),
        gt_label=label.astype(np.int32),
        pred_score=score,
        pred_label=score.argmax(axis=1),
        gt_au=au.astype(np.int32),
        pred_au=np.clip(0.2 + 0.2 * au + noise.normal(0, 0.15, au.shape), 0, 1).astype(np.float32),
    )
    targets = get_targets(task)
    for target in targets if task == 'mtl' else ():
        columns[target.ground_truth][truth.random(size) < 0.2] = target.hidden
    names = {n for t in targets for n in (t.ground_truth, t.prediction)}
    names |= {'pred_label'} if 'pred_score' in names else set()
    own = {name: column for name, column in columns.items() if name in names}
    return Predictions(table.clips, table.clip_id, table.frame_no, own)


def apply(choice, parts):
    frames = average(parts, 'ab', choice.weights) if choice.weights else average(parts, 'ab')
    method, width = choice.smooth
    settings = dict(bias=choice.bias, threshold=choice.threshold)
    return Postprocess(method=method, width=width, **settings)(frames)


def score(predictions, rows):
    annotated = predictions.take(rows)
    return score_track(annotated).with_crop[SCORES[predictions.task]]


def search_by_force(parts, rows):
    """Choose each step, class by class and unit by unit, with the complete score on some rows."""
    task, choice = parts[0].task, Choice()

    def best(choices):
        scores = [round(score(apply(choice, parts), rows), 9) for choice in choices]
        return choices[int(np.argmax(scores))]

    for step in STEPS[task]:
        if step in ('weights', 'smooth'):
            values = [getattr(Choice(), step), *VALUES[step]]
            choice = best([replace(choice, **{step: value}) for value in values])
            continue
        neutral, size = (0.0, 8) if step == 'bias' else (0.5, 12)
        tried = sorted((neutral, *VALUES[step]), key=lambda x: (abs(x - neutral), x))
        for at in [*range(size)] * (2 if step == 'bias' else 1):
            now = getattr(choice, step) or (neutral,) * size
            vectors = [(*now[:at], x, *now[at + 1 :]) for x in tried]
            choice = best([replace(choice, **{step: vector}) for vector in vectors])
        if set(getattr(choice, step)) == {neutral}:
            choice = replace(choice, **{step: None})
    return choice


@pytest.mark.parametrize(
    'task',
    ['va', 'au', pytest.param('mtl', marks=pytest.mark.slow)],  # 10 s by force
)
def test_search_equals_brute_force(task):
    parts = [make_predictions(task, seed) for seed in (0, 1)]
    values = {step: VALUES[step] if step in STEPS[task] else () for step in VALUES}
    result = search_postprocessing(parts, 'ab', Candidates(**values), num_folds=3)
    assert [stage.step for stage in result.stages] == list(STEPS[task])
    first = parts[0]
    annotated = {target.column: first[target.ground_truth] for target in get_targets(task)}
    table = FrameTable(first.clips, first.clip_id, first.frame_no, annotated)
    held_out = [np.zeros_like(first[name]) for name in first.columns if 'pred' in name]
    names = [name for name in first.columns if 'pred' in name]
    units = np.zeros((len(first), 12), np.float32)
    folds = split_folds(find_strata(table), 3)
    for fold, chosen in zip(folds, result.stages[-1].by_fold, strict=True):
        inside = np.isin(first.clip, fold)
        assert chosen == search_by_force(parts, ~inside)
        processed = apply(chosen, parts)
        for name, column in zip(names, held_out, strict=True):
            column[inside] = processed[name][inside]
        if 'pred_au' in names:
            limits = np.float32(chosen.threshold or (0.5,) * 12)
            units[inside] = processed['pred_au'][inside] >= limits
    columns = dict(zip(names, held_out, strict=True))
    columns |= {'pred_au': units} if 'pred_au' in columns else {}
    if 'pred_score' in columns:
        columns['pred_score'] = np.eye(8, dtype=np.float32)[columns['pred_label']]
    every = np.ones(len(first), bool)
    assert result.choice == search_by_force(parts, every)
    assert result.before == pytest.approx(score(average(parts, 'ab'), every))
    assert result.claimed == pytest.approx(score(apply(result.choice, parts), every))
    assert result.held_out == pytest.approx(score(first.with_columns(**columns), every))
    assert result.held_out > result.before  # the jumps are noise


def test_the_chosen_flags_give_the_claimed_score(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ['0.npz', '1.npz']
    for seed, name in enumerate(names):
        make_predictions('mtl', seed).write(name)
    search = ('analysis_tools/search_postprocessing.py', *names, '--folds', 3)
    status, out, err = run_tool(*search, '--widths', 3, '--json', 'found.json')
    assert status in (0, None), err
    found = json.loads((tmp_path / 'found.json').read_text())
    assert [stage['step'] for stage in found['stages']] == list(STEPS['mtl'])
    assert f'P before {found["before"]:.4f}' in out
    process = ('analysis_tools/postprocess_predictions.py', *names, '--out', 'out.npz')
    assert run_tool(*process, *found['flags'].split())[0] in (0, None)
    scores = score_track(Predictions.read('out.npz')).with_crop
    assert scores['p_score'] == pytest.approx(found['claimed'])


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_hidden_annotations_are_refused(task):
    predictions = make_predictions(task)
    hidden = {
        t.ground_truth: np.full_like(predictions[t.ground_truth], t.hidden)
        for t in get_targets(task)
    }
    with pytest.raises(ValueError, match='got predictions without annotations'):
        search_postprocessing([predictions.with_columns(**hidden)], 'a', Candidates(bias=()))


def test_a_part_without_annotations_adds_nothing():
    predictions = make_predictions('mtl')
    hidden = predictions.with_columns(gt_va=np.full_like(predictions['gt_va'], -5))
    result = search_postprocessing([hidden], 'a', Candidates(bias=()), num_folds=3)
    assert result.before == pytest.approx(score_track(hidden).with_crop['p_score'])


def test_a_constant_prediction_has_a_ccc_of_0():
    predictions = make_predictions('va')
    constant = predictions.with_columns(pred_va=np.full_like(predictions['pred_va'], 0.3))
    result = search_postprocessing([constant], 'a', Candidates(bias=()), num_folds=3)
    assert result.before == result.claimed == result.held_out == 0
