"""Scores of overlapping windows are averaged, on one process and on two."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.dist import get_rank
from mmpretrain.registry import MODELS
from sklearn.metrics import f1_score
from torch.utils.data import DataLoader

from abaw_mm.datasets import ClipFeatureDataset
from abaw_mm.evaluation import DumpPredictions, MacroF1, Predictions

VAL = 'annotations/EXPR_Recognition_Challenge/Train_Set'
MODEL = dict(
    type='TemporalClassifier',
    data_preprocessor=dict(type='WindowDataPreprocessor'),
    backbone=dict(type='WindowTransformer', in_channels=6, channels=8, num_layers=1, num_heads=2),
    head=dict(type='LinearClsHead', num_classes=8, in_channels=8),
)


def build_model():
    torch.manual_seed(0)
    return MODELS.build(MODEL).eval()


def open_windows(features, root, step):
    return ClipFeatureDataset(
        str(features), VAL, str(root), window=5, context=1, step=step, test_mode=True
    )


@torch.no_grad()
def evaluate(dataset, model, out, shuffle=False):
    """Compute MacroF1 and write the predictions as the Runner does."""
    metrics = MacroF1(), DumpPredictions(str(out))
    sampler = DefaultSampler(dataset, shuffle=shuffle, seed=3)  # repeats windows on two processes
    for batch in DataLoader(dataset, 2, sampler=sampler, collate_fn=default_collate):
        outputs = [output.to_dict() for output in model.test_step(batch)]
        for metric in metrics:
            metric.process(None, outputs)
    return [metric.evaluate(len(dataset)) for metric in metrics][0]


@torch.no_grad()
def brute_force(dataset, model):
    """Score every window by itself; return clip, frame, label and mean score of each frame."""
    scores, labels = defaultdict(list), {}
    for item in dataset:
        batch = model.data_preprocessor(default_collate([item]))
        features = model.backbone(batch['inputs'], batch['data_samples'][0].seen)
        score = model.head((features[0],)).softmax(1).double().numpy()
        for at in item['scored'].nonzero().flatten().tolist():
            frame = item['clip'], int(item['frame_no'][at])
            scores[frame].append(score[at])
            labels[frame] = int(item['gt_label'][at])
    frames = sorted(scores)
    assert max(map(len, scores.values())) > 1 or dataset.step == dataset.window
    return frames, [labels[f] for f in frames], np.array([np.mean(scores[f], 0) for f in frames])


@pytest.mark.parametrize('step', [1, 2, 5])
def test_scores_equal_those_of_brute_force(tiny, make_features, tmp_path, step):
    make_features(tmp_path / 'f', tiny)
    dataset, model = open_windows(tmp_path / 'f', tiny, step), build_model()
    figures = evaluate(dataset, model, tmp_path / 'p.npz')
    frames, labels, scores = brute_force(dataset, model)
    predictions = Predictions.read(tmp_path / 'p.npz')
    assert list(zip(predictions.clip, predictions.frame_no, strict=True)) == frames
    assert predictions['gt_label'].tolist() == labels and len(frames) == 36
    np.testing.assert_allclose(predictions['pred_score'], scores, atol=1e-6)
    expected = scores.argmax(1)
    assert predictions['pred_label'].tolist() == expected.tolist()
    macro = f1_score(labels, expected, labels=range(8), average='macro', zero_division=0)
    assert figures['affwild2/macro_f1'] == pytest.approx(100 * macro)


def test_order_of_the_windows_does_not_matter(tiny, make_features, tmp_path):
    make_features(tmp_path / 'f', tiny)
    dataset, model = open_windows(tmp_path / 'f', tiny, 2), build_model()
    one = evaluate(dataset, model, tmp_path / 'one.npz')
    assert evaluate(dataset, model, tmp_path / 'other.npz', shuffle=True) == one
    scores = [Predictions.read(tmp_path / f'{n}.npz')['pred_score'] for n in ('one', 'other')]
    np.testing.assert_allclose(*scores, atol=1e-7)


def make_outputs(windows):
    """Return the outputs of windows as the model's: four frames each, two of them shared."""
    rng = np.random.default_rng(0)
    outputs = []
    for window in range(30):
        scores = rng.dirichlet(np.ones(8), 4)
        outputs.append(
            dict(
                clips=['a'],
                clip_id=torch.zeros(4, dtype=torch.int64),
                frame_no=torch.arange(4) + 2 * window,
                sample_idx=torch.full((4,), window),
                gt_label=(torch.arange(4) + 2 * window) % 8,
                pred_score=torch.from_numpy(scores.astype(np.float32)),
                place=torch.arange(4),
            )
        )
    return [outputs[window] for window in windows]


def check_two_processes(expected):
    metric = MacroF1()
    metric.unused = ()
    kept = {}
    metric.compute_metrics = lambda frames: kept.update(frames=frames) or {}
    # odd and even windows, in other orders, some of them twice on the same and on both processes
    own = [*range(get_rank(), 30, 2), 7, 7, 0] if get_rank() else [*range(28, -1, -2), 7, 0]
    for output in make_outputs(own):
        metric.process(None, [output])
    metric.evaluate(30)
    np.testing.assert_array_equal(kept['frames']['pred_score'], expected)


def average_windows():
    outputs = make_outputs(range(30))
    total, count = np.zeros((62, 8)), np.zeros(62)
    for output in outputs:
        total[output['frame_no']] += output['pred_score'].double().numpy()
        count[output['frame_no']] += 1
    return (total / count[:, None]).astype(np.float32)


def test_average_is_exact_whatever_the_order_and_the_copies():
    metric, kept = MacroF1(), {}
    metric.unused = ()
    metric.compute_metrics = lambda frames: kept.update(frames=frames) or {}
    for output in make_outputs([*range(29, -1, -1), 3, 3, 15]):
        metric.process(None, [output])
    metric.evaluate(30)
    np.testing.assert_array_equal(kept['frames']['pred_score'], average_windows())
    assert set(kept['frames'].columns) == {'gt_label', 'pred_score', 'pred_label'}


@pytest.mark.slow
def test_average_is_exact_on_two_processes(run_distributed):
    run_distributed(check_two_processes, average_windows())
