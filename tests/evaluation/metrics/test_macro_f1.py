"""MacroF1 against scikit-learn and by hand, on one process and on two."""

import logging

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from sklearn.metrics import accuracy_score, f1_score

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import MacroF1
from abaw_mm.evaluation.metrics.macro_f1 import f1_per_class


def make_samples(pred, gt, scores=None):
    """Make data samples as mmengine's Evaluator passes them to a metric."""
    out = []
    for i, (p, g) in enumerate(zip(pred, gt, strict=True)):
        sample = DataSample(metainfo=dict(clip=f'clip {i % 3}', frame_no=i // 3 + 1))
        if g is not None:
            sample.set_gt_label(int(g))
        score = torch.eye(8)[int(p)] if scores is None else torch.as_tensor(scores[i])
        sample.set_pred_score(score).set_pred_label(int(p))
        out.append(sample.to_dict())
    return out


def evaluate(data, size=None, **kwargs):
    metric = MacroF1(**kwargs)
    metric.dataset_meta = dict(classes=EXPRESSIONS)
    for start in range(0, len(data), 7):
        metric.process(None, data[start : start + 7])
    return metric.evaluate(len(data) if size is None else size)


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('classes', [8, 5])
def test_equals_scikit_learn(seed, classes):
    rng = np.random.default_rng(seed)
    gt = rng.integers(0, classes, 301)
    pred = np.where(rng.random(301) < 0.6, gt, rng.integers(0, 8, 301))
    metrics = evaluate(make_samples(pred, gt))
    f1 = f1_score(gt, pred, labels=range(8), average=None, zero_division=0)
    assert metrics['affwild2/macro_f1'] == pytest.approx(100 * f1.mean(), abs=1e-9)
    assert metrics['affwild2/accuracy'] == pytest.approx(100 * accuracy_score(gt, pred), abs=1e-9)
    for i, name in enumerate(EXPRESSIONS):
        assert metrics[f'affwild2/f1_{name}'] == pytest.approx(100 * f1[i], abs=1e-9)
        assert metrics['affwild2/support'][name] == (gt == i).sum()


def test_formula_by_hand():
    #  class 0: TP 2, FP 1, FN 0 -> 4/5;  class 1: TP 1, FP 0, FN 2 -> 2/4;  class 2: FP 1 -> 0
    f1, support = f1_per_class(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 1]), 3)
    assert f1.tolist() == pytest.approx([0.8, 0.5, 0.0]) and support.tolist() == [2, 3, 0]


def test_absent_class_counts_zero_or_is_skipped(log):
    data = make_samples([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    assert evaluate(data)['affwild2/macro_f1'] == pytest.approx(100 * 5 / 8)
    assert len(log()) == 1 and 'Sadness, Surprise, Other' in log()[0]
    assert evaluate(data, absent='skip')['affwild2/macro_f1'] == pytest.approx(100)
    with pytest.raises(ValueError, match="got absent='nan', expected 'zero'"):
        MacroF1(absent='nan')


def test_frames_count_once(log):
    data = make_samples([0, 1, 2, 3, 4, 5, 6, 7, 0], [0, 1, 2, 3, 4, 5, 6, 7, 1])
    expected = evaluate(data)
    assert evaluate(data + data[:3], size=9) == expected  # as a sampler pads
    assert not log()
    conflicting = make_samples([0], [3])
    with pytest.raises(
        ValueError, match="frame 1 of 'clip 0': got two values of gt_label, 0 and 3"
    ):
        evaluate(data + conflicting)


def test_warns_of_unscored_frames(log):
    evaluate(make_samples(range(8), range(8)), size=10)
    assert '8 of the 10 frames' in log()[0]


def check_rank(pred, gt, expected, pad):
    """Score the share of a rank; with ``pad``, the last rank repeats the first frame."""
    data = make_samples(pred, gt)
    share = data[get_rank() :: get_world_size()]
    if pad and get_rank() == get_world_size() - 1:
        share = share + data[:1]
    metric = MacroF1()
    metric.process(None, share)
    assert metric.evaluate(len(data)) == expected  # exactly


@pytest.mark.parametrize('pad', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_one_process_equals_two(run_distributed, pad):
    rng = np.random.default_rng(0)
    gt, pred = rng.integers(0, 8, 33), rng.integers(0, 8, 33)  # an odd number
    run_distributed(check_rank, pred, gt, evaluate(make_samples(pred, gt)), pad)


@pytest.mark.slow
def test_more_processes_than_frames(run_distributed):
    run_distributed(check_rank, [3], [3], evaluate(make_samples([3], [3])), False)


def test_hidden_labels_give_no_score_and_a_warning(log):
    assert evaluate(make_samples([0, 1], [None, None])) == {}
    assert 'hidden' in log()[0]
    with pytest.raises(ValueError, match='got no gt_label for 1 of 2 frames'):
        evaluate(make_samples([0, 1], [0, None]))


def test_scores_that_are_not_finite_are_refused():
    scores = np.full((1, 8), np.nan, np.float32)
    with pytest.raises(ValueError, match='expected finite numbers'):
        evaluate(make_samples([0], [0], scores))


def test_classes_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r'got class 7, expected 0\.\.6'):
        evaluate(make_samples([7], [0]), num_classes=7)


def test_scores_of_other_images_have_another_prefix():
    metric = MacroF1(prefix='other')
    zero, score = torch.tensor([0]), torch.eye(8)[0]
    metric.process(None, [dict(img_path='a.jpg', gt_label=zero, pred_label=zero, pred_score=score)])
    assert metric.evaluate(1)['other/accuracy'] == 100


def test_seven_classes_of_the_first_edition():
    metrics = evaluate(make_samples(range(7), range(7)), num_classes=7)
    assert metrics['affwild2/macro_f1'] == pytest.approx(100) and 'affwild2/f1_Other' not in metrics


def test_samples_of_another_dataset_are_identified_by_their_number():
    rng = np.random.default_rng(0)
    gt, pred = rng.integers(0, 8, 40), rng.integers(0, 8, 40)
    data = make_samples(pred, gt)
    for number, sample in enumerate(data):  # as PackInputs leaves them for images without a path
        del sample['clip'], sample['frame_no']
        sample['sample_idx'] = number
    f1 = f1_score(gt, pred, labels=range(8), average='macro', zero_division=0)
    assert evaluate(data + data[:3], size=40)['affwild2/macro_f1'] == pytest.approx(100 * f1)
    with pytest.raises(ValueError, match='got 40 different sample_idx for the 43 samples'):
        evaluate(data + data[:3], size=43)


def test_images_of_another_dataset_are_identified_by_their_path():
    """Paths have slashes and may be long; images of one name in two folders are two images."""
    data = make_samples([0, 1, 2, 3], [0, 1, 2, 4])
    paths = ['/data/a b/1.jpg', '/data/a/b/1.jpg', f'/{"d" * 300}/1.jpg', f'/{"e" * 300}/1.jpg']
    for path, sample in zip(paths, data, strict=True):
        del sample['clip'], sample['frame_no']
        sample['img_path'] = path
    metrics = evaluate(data + data, size=4)
    assert metrics['affwild2/accuracy'] == 75
    assert sum(metrics['affwild2/support'].values()) == 4
