"""Predictions of valence and arousal, of action units and of all targets together."""

import csv
import pickle
from dataclasses import replace

import numpy as np
import pytest

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.ensemble import average, gate
from abaw_mm.structures.tasks import ACTION_UNITS, EXPRESSIONS, get_targets


def make_columns(task, size=4, seed=0):
    """Make predictions and annotations of a track; the second frame is not annotated."""
    rng = np.random.default_rng(seed)
    score = rng.dirichlet(np.ones(8), size).astype(np.float32)
    truth = np.random.default_rng(9)
    columns = dict(
        gt_va=truth.uniform(-1, 1, (size, 2)).astype(np.float32),
        pred_va=rng.uniform(-1, 1, (size, 2)).astype(np.float32),
        gt_label=truth.integers(0, 8, size).astype(np.int32),
        pred_score=score,
        pred_label=score.argmax(1).astype(np.int32),
        gt_au=truth.integers(0, 2, (size, 12)).astype(np.int32),
        pred_au=rng.uniform(0, 1, (size, 12)).astype(np.float32),
    )
    for target in get_targets('mtl'):
        columns[target.ground_truth][1] = target.hidden
    names = {n for t in get_targets(task) for n in (t.ground_truth, t.prediction)}
    names |= {'pred_label'} if 'pred_score' in names else set()
    return {name: column for name, column in columns.items() if name in names}


def make_predictions(task, seed=0, **changes):
    clip_id = np.array([0, 0, 1, 1], np.int32)
    frame_no = np.array([1, 3, 1, 2], np.int32)
    columns = make_columns(task, seed=seed) | changes
    return Predictions(['a', 'b c'], clip_id, frame_no, columns)


@pytest.mark.parametrize('task', ['expr', 'va', 'au', 'mtl'])
def test_each_track_is_read_as_it_was_written(tmp_path, task):
    first = make_predictions(task)
    first.write(tmp_path / 'p.npz')
    with np.load(tmp_path / 'p.npz', allow_pickle=False) as arrays:
        assert ('classes' in arrays) == (task in ('expr', 'mtl'))
    again = Predictions.read(tmp_path / 'p.npz')
    assert again.task == first.task == task
    assert again.classes == (EXPRESSIONS if task in ('expr', 'mtl') else ())
    assert again.columns.keys() == first.columns.keys()
    for name, column in first.columns.items():
        np.testing.assert_array_equal(again[name], column)
        assert again[name].dtype == column.dtype


def test_csv_has_the_names_of_the_targets(tmp_path):
    predictions = make_predictions('mtl')
    predictions.write(tmp_path / 'p.csv')
    with open(tmp_path / 'p.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    va = [float(rows[2][name]) for name in ('valence', 'arousal')]
    np.testing.assert_allclose(va, predictions['pred_va'][2], atol=1e-6)
    au = [float(rows[3][name]) for name in ACTION_UNITS]
    np.testing.assert_allclose(au, predictions['pred_au'][3], atol=1e-6)
    assert [rows[1][name] for name in ('gt_valence', 'gt_label', 'gt_AU26')] == ['-5', '-1', '-1']


def test_pickle_has_one_dict_per_frame(tmp_path):
    predictions = make_predictions('va')
    predictions.write(tmp_path / 'p.pkl')
    rows = pickle.loads((tmp_path / 'p.pkl').read_bytes())
    np.testing.assert_array_equal(np.stack([r['pred_va'] for r in rows]), predictions['pred_va'])


def test_annotations_default_to_hidden(tmp_path):
    columns = make_columns('mtl')
    np.savez(
        tmp_path / 'p.npz',
        clip=np.array(['a', 'a', 'b', 'b']),
        frame_no=np.array([2, 1, 1, 2]),
        classes=np.array(EXPRESSIONS),
        **{name: columns[name] for name in ('pred_va', 'pred_score', 'pred_au')},
    )
    read = Predictions.read(tmp_path / 'p.npz')
    assert (read['gt_va'] == -5).all() and (read['gt_label'] == -1).all()
    assert (read['gt_au'] == -1).all()
    np.testing.assert_array_equal(read['pred_va'], columns['pred_va'][[1, 0, 2, 3]])


def change(name, value, task='mtl'):
    column = make_columns(task)[name].copy()
    column[1, 0] = value
    return {name: column}


@pytest.mark.parametrize(
    ('task', 'changes', 'message'),
    [
        ('va', change('pred_va', np.nan), "pred_va .nan.* for frame 3 of 'a' .1 such frames."),
        ('va', change('pred_va', 1.5), 'pred_va .1.5.* expected numbers in -1..1'),
        ('va', change('gt_va', -2), 'gt_va .-2.0.* in -1..1, or -5 where not annotated'),
        ('au', change('pred_au', -0.1), 'pred_au .* expected numbers in 0..1'),
        ('au', change('gt_au', 2), 'gt_au .2, .* or -1 where not annotated'),
        ('mtl', change('pred_au', np.inf), 'pred_au .inf.* for frame 3 of'),
        ('va', dict(pred_va=np.zeros((4, 3), np.float32)), r'shape \(4, 3\), expected \(4, 2\)'),
        ('au', dict(pred_va=np.zeros((4, 2), np.float32)), 'expected those of one track'),
    ],
)
def test_invalid_columns_are_refused(task, changes, message):
    with pytest.raises(ValueError, match=message):
        make_predictions(task, **changes)


def test_missing_annotation_column_is_refused():
    columns = make_columns('va')
    del columns['gt_va']
    with pytest.raises(ValueError, match="expected 'gt_va' as well, for the task 'va'"):
        replace(make_predictions('va'), columns=columns)


def test_file_without_a_part_of_a_track_is_refused(tmp_path):
    columns = make_columns('mtl')
    arrays = {name: columns[name] for name in ('pred_va', 'pred_au')}
    np.savez(tmp_path / 'p.npz', clip=np.array(list('aabb')), frame_no=np.arange(4), **arrays)
    with pytest.raises(ValueError, match='p.npz: .*expected those of one track'):
        Predictions.read(tmp_path / 'p.npz')


def test_repeated_frames_of_the_multi_task_set_are_kept_by_row(tmp_path):
    columns = make_columns('mtl') | dict(sample_idx=np.array([5, 7, 1, 2], np.int32))
    clip_id, frame_no = np.zeros(4, np.int32), np.array([1, 1, 2, 3], np.int32)
    Predictions(['a'], clip_id, frame_no, columns).write(tmp_path / 'p.npz')
    assert Predictions.read(tmp_path / 'p.npz')['sample_idx'].tolist() == [5, 7, 1, 2]
    columns['sample_idx'] = np.array([5, 5, 1, 2], np.int32)
    with pytest.raises(ValueError, match="frame 1 of 'a' twice"):
        Predictions(['a'], clip_id, frame_no, columns)


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_average_of_each_track(task):
    parts = [make_predictions(task, seed=seed) for seed in (0, 1)]
    mean = average(parts, ['one', 'two'], [3, 1])
    assert mean.task == task and mean.steps == ('mean of 2 weights 0.75 0.25',)
    for target in get_targets(task):
        expected = 0.75 * parts[0][target.prediction] + 0.25 * parts[1][target.prediction]
        np.testing.assert_allclose(mean[target.prediction], expected, atol=1e-6)
        np.testing.assert_array_equal(mean[target.ground_truth], parts[0][target.ground_truth])


def test_tracks_do_not_mix():
    with pytest.raises(ValueError, match="two: got .* track 'au', and of 'va' in one"):
        average([make_predictions('va'), make_predictions('au')], ['one', 'two'])
    with pytest.raises(ValueError, match='two: got the gt_va .* in one .1 such frames.'):
        average(
            [make_predictions('va'), make_predictions('va', **change('gt_va', 0))], ['one', 'two']
        )
    with pytest.raises(ValueError, match="--gate: got predictions of the track 'va'"):
        gate(make_predictions('va'), make_predictions('va', 1), 0.9, 'two')
    with pytest.raises(ValueError, match="test.npz: got predictions of the track 'au', expected"):
        make_predictions('au').check_classes(EXPRESSIONS, 'test.npz')
