"""CCC, ActionUnitF1, MultiTaskScore against NumPy and scikit-learn, on one to three processes."""

import logging

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import MMLogger
from sklearn.metrics import balanced_accuracy_score, f1_score

from abaw_mm.evaluation import CCC, ActionUnitF1, MultiTaskScore
from abaw_mm.evaluation.metrics.ccc import concordance
from abaw_mm.structures import FrameBatch
from abaw_mm.structures.tasks import ACTION_UNITS, EXPRESSIONS

METRICS = [CCC, ActionUnitF1, MultiTaskScore]


def make_columns(size=61, seed=0):
    """Draw annotations of all tracks and predictions that resemble them."""
    rng = np.random.default_rng(seed)
    va = rng.uniform(-1, 1, (size, 2)).astype(np.float32)
    au = (rng.random((size, 12)) < 0.3).astype(np.int64)
    return dict(
        clip_id=np.arange(size) % 3,
        frame_no=np.arange(size) // 3 + 1,
        sample_idx=np.arange(size),
        gt_label=rng.integers(0, 8, size),
        gt_va=va,
        gt_au=au,
        pred_score=rng.dirichlet(np.ones(8), size).astype(np.float32),
        pred_va=np.clip(va + rng.normal(0, 0.4, va.shape), -1, 1).astype(np.float32),
        pred_au=np.clip(0.4 * au + rng.random(au.shape) * 0.6, 0, 1).astype(np.float32),
    )


def make_batch(columns, rows=slice(None)):
    tensors = {name: torch.from_numpy(values[rows]) for name, values in columns.items()}
    return FrameBatch(metainfo=dict(clips=['a', 'b', 'c']), **tensors).to_dict()


def evaluate(metric, columns, size=None):
    for start in range(0, len(columns['frame_no']), 7):
        metric.process(None, [make_batch(columns, slice(start, start + 7))])
    return metric.evaluate(len(columns['frame_no']) if size is None else size)


@pytest.fixture
def warnings(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    logger.removeHandler(caplog.handler)


def ccc_of_moments(x, y):
    """Compute the CCC from the covariance matrix of NumPy."""
    x, y = x.astype(float), y.astype(float)
    cov = np.cov(x, y, bias=True)
    return 2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (x.mean() - y.mean()) ** 2)


def test_ccc_equals_numpy():
    columns = make_columns()
    metrics = evaluate(CCC(), columns)
    pred, target, clip = columns['pred_va'], columns['gt_va'], columns['clip_id']
    pooled = [ccc_of_moments(pred[:, k], target[:, k]) for k in range(2)]
    per_clip = [
        ccc_of_moments(pred[clip == c, k], target[clip == c, k]) for c in range(3) for k in range(2)
    ]
    assert metrics['affwild2/ccc_valence'] == pytest.approx(pooled[0], abs=1e-9)
    assert metrics['affwild2/ccc_arousal'] == pytest.approx(pooled[1], abs=1e-9)
    assert metrics['affwild2/ccc'] == pytest.approx(np.mean(pooled), abs=1e-9)
    assert metrics['affwild2/ccc_per_clip'] == pytest.approx(np.mean(per_clip), abs=1e-9)


@pytest.mark.parametrize(
    ('pred', 'target', 'expected'),
    [
        ([0, 1, 2], [0, 1, 2], 1.0),
        ([0, 1, 2], [2, 1, 0], -1.0),
        ([1, 2, 3], [0, 1, 2], 4 / 3 / (4 / 3 + 1)),
        ([0.1] * 3, [0, 1, 2], 0.0),
        ([0, 1, 2], [0.1] * 3, 0.0),
        ([0.1] * 3, [0.1] * 3, 0.0),
    ],
)
def test_ccc_by_hand(pred, target, expected):
    got = concordance(np.float32(pred)[:, None], np.float32(target)[:, None])
    assert got.tolist() == pytest.approx([expected], abs=1e-7)


def test_constant_prediction_counts_zero(warnings):
    columns = make_columns()
    columns['pred_va'][:, 1] = 0.3
    metrics = evaluate(CCC(), columns)
    assert metrics['affwild2/ccc_arousal'] == 0
    assert metrics['affwild2/ccc'] == metrics['affwild2/ccc_valence'] / 2
    assert 'the prediction of arousal is the same in all 61 frames' in warnings()[0]


def test_clip_of_constant_annotation_is_left_out():
    columns = make_columns()
    first = columns['clip_id'] == 0
    columns['gt_va'][first] = 0.5
    rest = {name: values[~first] for name, values in columns.items()}
    expected = evaluate(CCC(), rest)['affwild2/ccc_per_clip']
    assert evaluate(CCC(), columns)['affwild2/ccc_per_clip'] == expected


@pytest.mark.parametrize('threshold', [0.5, np.linspace(0.2, 0.8, 12).tolist()])
def test_action_units_equal_scikit_learn(threshold):
    columns = make_columns()
    metrics = evaluate(ActionUnitF1(threshold=threshold), columns)
    pred = columns['pred_au'] >= np.float32(threshold)
    target = columns['gt_au']
    f1 = f1_score(target, pred, average=None, zero_division=0)
    assert metrics['affwild2/mean_f1'] == pytest.approx(100 * f1.mean(), abs=1e-9)
    balanced = [balanced_accuracy_score(target[:, k], pred[:, k]) for k in range(12)]
    assert metrics['affwild2/balanced_accuracy'] == pytest.approx(100 * np.mean(balanced), abs=1e-9)
    for k, name in enumerate(ACTION_UNITS):
        assert metrics[f'affwild2/f1_{name}'] == pytest.approx(100 * f1[k], abs=1e-9)
        assert metrics[f'affwild2/balanced_accuracy_{name}'] == pytest.approx(100 * balanced[k])
        assert metrics['affwild2/support'][name] == target[:, k].sum()
        assert metrics['affwild2/prevalence'][name] == pytest.approx(100 * target[:, k].mean())


def test_absent_unit_counts_zero_or_is_skipped(warnings):
    columns = make_columns()
    columns['gt_au'][:, 8] = 0
    columns['pred_au'][:, 8] = 0
    zero = evaluate(ActionUnitF1(), columns)
    skip = evaluate(ActionUnitF1(absent='skip'), columns)
    assert zero['affwild2/f1_AU23'] == 0 and zero['affwild2/balanced_accuracy_AU23'] == 100
    assert skip['affwild2/mean_f1'] == pytest.approx(zero['affwild2/mean_f1'] * 12 / 11)
    assert 'no frame is annotated with AU23; each counts 0 in the mean' in warnings()[0]


def test_thresholds_are_one_or_twelve():
    with pytest.raises(ValueError, match='got 2 thresholds, expected one number or 12'):
        ActionUnitF1(threshold=[0.5, 0.5])
    with pytest.raises(ValueError, match='threshold'):
        MultiTaskScore(threshold=1.5)


def hide(columns):
    """Hide each part in some rows, and all parts in the first."""
    columns['gt_va'][:20, 1] = -5
    columns['gt_label'][[0, *range(15, 40)]] = -1
    columns['gt_au'][[0, *range(30, 50)], 3] = -1
    return columns


def test_multi_task_score_sums_parts_on_their_rows():
    columns = hide(make_columns())
    metrics = evaluate(MultiTaskScore(), columns)
    va = (columns['gt_va'] != -5).all(axis=1)
    au = (columns['gt_au'] != -1).all(axis=1)
    label = columns['gt_label'] >= 0
    ccc = np.mean(
        [ccc_of_moments(columns['pred_va'][va, k], columns['gt_va'][va, k]) for k in (0, 1)]
    )
    macro = f1_score(
        columns['gt_label'][label],
        columns['pred_score'].argmax(1)[label],
        labels=range(8),
        average='macro',
        zero_division=0,
    )
    unit = f1_score(columns['gt_au'][au], columns['pred_au'][au] >= 0.5, average='macro')
    assert metrics['affwild2/p_score'] == pytest.approx(ccc + macro + unit, abs=1e-9)
    assert metrics['affwild2/annotated'] == dict(va=va.sum(), label=label.sum(), au=au.sum())
    assert set(metrics['affwild2/support']) == {*EXPRESSIONS, *ACTION_UNITS}


def test_repeated_rows_count_each(warnings):
    """Rows of one frame differ in sample_idx; copies that a sampler pads do not."""
    columns = make_columns()
    twice = {name: np.concatenate([values, values]) for name, values in columns.items()}
    twice['sample_idx'] = np.arange(122)
    twice['gt_va'][61:] = 0.25
    twice['gt_label'][61:] = 3
    metrics = evaluate(MultiTaskScore(), twice)
    assert metrics['affwild2/annotated'] == dict(va=122, label=122, au=122)
    assert metrics['affwild2/ccc_valence'] == pytest.approx(
        ccc_of_moments(twice['pred_va'][:, 0], twice['gt_va'][:, 0]), abs=1e-9
    )
    padded = {name: np.concatenate([values, values[:3]]) for name, values in twice.items()}
    assert evaluate(MultiTaskScore(), padded, size=122) == metrics
    assert not warnings()


def test_part_without_annotation_adds_zero(warnings):
    columns = make_columns()
    full = evaluate(MultiTaskScore(), columns)
    columns['gt_au'][:] = -1
    metrics = evaluate(MultiTaskScore(), columns)
    assert metrics['affwild2/p_score'] == pytest.approx(
        full['affwild2/p_score'] - full['affwild2/mean_f1'] / 100
    )
    assert 'the gt_au of all 61 rows are hidden; each adds 0' in warnings()[0]


@pytest.mark.parametrize('kind', METRICS)
def test_hidden_annotations_give_no_score_and_a_warning(kind, warnings):
    columns = {k: v for k, v in make_columns().items() if not k.startswith('gt_')}
    assert evaluate(kind(), columns) == {}
    assert 'hidden' in warnings()[0] and len(warnings()) == 1


@pytest.mark.parametrize('kind', [CCC, ActionUnitF1])
def test_single_task_refuses_partly_hidden_sets(kind):
    with pytest.raises(ValueError, match='expected annotations for all or none'):
        evaluate(kind(), hide(make_columns()))
    metric = kind()
    metric.dataset_meta = dict(task='mtl')
    assert evaluate(metric, hide(make_columns()))


def check_rank(kind, columns, expected):
    """Score the share of a rank; the last rank repeats the first frames."""
    rank, world = get_rank(), get_world_size()
    rows = np.arange(rank, len(columns['frame_no']), world)
    if rank == world - 1:
        rows = np.append(rows, [0, 1])
    metric = kind()
    metric.process(None, [make_batch(columns, rows)])
    assert metric.evaluate(len(columns['frame_no'])) == expected  # exactly


@pytest.mark.parametrize(
    ('kind', 'world_size'),
    [(MultiTaskScore, 2)]
    + [pytest.param(kind, size, marks=pytest.mark.slow) for kind in METRICS for size in (2, 3)],
)
def test_one_process_equals_several(run_distributed, kind, world_size):
    columns = make_columns()
    args = (check_rank, kind, columns, evaluate(kind(), columns))
    run_distributed(*args, world_size=world_size)
