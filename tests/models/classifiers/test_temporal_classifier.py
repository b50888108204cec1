"""TemporalClassifier: scores of windows equal those of whole clips, on one and two processes."""

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.dist import get_rank, get_world_size
from mmpretrain.registry import MODELS
from torch.utils.data import DataLoader

from abaw_mm.datasets import ClipFeatureDataset
from abaw_mm.evaluation import MacroF1

MODEL = dict(
    type='TemporalClassifier',
    data_preprocessor=dict(type='WindowDataPreprocessor'),
    backbone=dict(type='TemporalConvNet', in_channels=6, channels=8, num_layers=2),
    head=dict(type='LinearClsHead', num_classes=8, in_channels=8),
)


def build_model():
    torch.manual_seed(0)
    return MODELS.build(MODEL)


def open_windows(features, root, window, split='Train'):
    return ClipFeatureDataset(
        str(features),
        f'annotations/EXPR_Recognition_Challenge/{split}_Set',
        str(root),
        window=window,
        context=3,
        test_mode=True,
    )


@torch.no_grad()
def evaluate(dataset, model):
    """Compute MacroF1 as the Runner does."""
    metric = MacroF1()
    metric.unused = ()
    loader = DataLoader(
        dataset, 2, sampler=DefaultSampler(dataset, shuffle=False), collate_fn=default_collate
    )
    for batch in loader:
        outputs = model.eval().test_step(batch)
        metric.process(None, [output.to_dict() for output in outputs])
    kept = {}
    metric.compute_metrics = lambda results: kept.update(results=results) or {}
    metric.evaluate(len(dataset))
    return MacroF1.compute_metrics(metric, kept['results']), kept['results']


def test_scores_equal_those_of_whole_clips(tiny, make_features, tmp_path):
    written, model = make_features(tmp_path / 'f', tiny), build_model().eval()
    figures, results = evaluate(open_windows(tmp_path / 'f', tiny, 4), model)
    whole, _ = evaluate(open_windows(tmp_path / 'f', tiny, 1000), model)
    assert figures == whole and len(results) == 36
    for clip in results.clips:  # without dataset, windows and data preprocessor
        rows = results.clip == clip
        last = max(written[clip])
        x, seen = torch.zeros(1, last, 6), torch.zeros(1, last, dtype=torch.bool)
        for number, feature in written[clip].items():
            x[0, number - 1], seen[0, number - 1] = torch.from_numpy(feature).float(), True
        score = model.head((model.backbone(x, seen)[0],)).softmax(1)
        np.testing.assert_allclose(
            results['pred_score'][rows], score[results.frame_no[rows] - 1].detach(), atol=1e-6
        )


def test_loss_is_the_mean_over_labelled_frames(tiny, make_features, tmp_path):
    make_features(tmp_path / 'f', tiny)
    model, dataset = build_model().eval(), open_windows(tmp_path / 'f', tiny, 4)
    batch = default_collate([dataset[i] for i in range(len(dataset))])
    loss = model(**model.data_preprocessor(batch, training=True), mode='loss')['loss']
    _, results = evaluate(dataset, model)
    expected = -np.log(results['pred_score'][np.arange(36), results['gt_label']]).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def check_process(features, root, expected):
    assert get_world_size() == 2
    dataset = open_windows(features, root, 6)
    assert len(dataset) % 2 == 1  # the sampler repeats one
    figures, _ = evaluate(dataset, build_model())
    assert figures == expected, get_rank()


@pytest.mark.slow
def test_metrics_are_equal_on_two_processes(tiny, make_features, tmp_path, run_distributed):
    make_features(tmp_path / 'f', tiny)
    expected, _ = evaluate(open_windows(tmp_path / 'f', tiny, 6), build_model())
    run_distributed(check_process, tmp_path / 'f', tiny, expected)
