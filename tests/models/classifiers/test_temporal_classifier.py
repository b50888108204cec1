"""TemporalClassifier: scores of windows equal those of whole clips, on one and two processes."""

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.dist import get_rank, get_world_size
from mmpretrain.registry import MODELS
from torch.utils.data import DataLoader

from abaw_mm.datasets import ClipFeatureDataset
from abaw_mm.errors import UserError
from abaw_mm.evaluation import MacroF1
from abaw_mm.structures import FrameBatch

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


def test_neck_gets_the_frames_that_any_stream_has():
    torch.manual_seed(0)
    model = MODELS.build(
        {
            **MODEL,
            'backbone': dict(type='GatedFusion', in_channels=dict(v=6, a=3), channels=5),
            'neck': dict(type='TemporalConvNet', in_channels=5, channels=8, num_layers=2),
        }
    ).eval()
    inputs = dict(v=torch.randn(2, 7, 6), a=torch.randn(2, 7, 3))
    seen = dict(v=torch.rand(2, 7) > 0.5, a=torch.rand(2, 7) > 0.5)
    place = torch.tensor([0, 8, 13])
    batch = FrameBatch(seen=seen, place=place)
    expected = model.neck(model.backbone(inputs, seen), seen['v'] | seen['a'])
    assert torch.equal(model.extract_feat(inputs, batch)[0], expected.flatten(0, 1)[place])


def make_loss_batch():
    torch.manual_seed(1)
    place = torch.arange(5)
    batch = FrameBatch(seen=torch.ones(1, 5).bool(), place=place, gt_label=torch.arange(5) % 8)
    return torch.randn(1, 5, 6), [batch]


def test_r_drop_is_the_published_loss():
    model = MODELS.build({**MODEL, 'r_drop': 0.7}).train()
    inputs, samples = make_loss_batch()
    torch.manual_seed(2)
    losses = model.loss(inputs, samples)
    torch.manual_seed(2)
    p, q = (model.head(model.extract_feat(inputs, samples[0])).log_softmax(1) for _ in range(2))
    label = samples[0].gt_label[:, None]
    assert losses['loss'].item() == pytest.approx(
        -(p.gather(1, label) + q.gather(1, label)).mean().item() / 2, rel=1e-5
    )
    divergence = ((p.exp() - q.exp()) * (p - q)).sum(1).mean() / 2
    assert divergence > 0
    assert losses['loss_r_drop'].item() == pytest.approx(0.7 * divergence.item(), rel=1e-5)


def test_r_drop_without_dropout_is_refused():
    backbone = dict(MODEL['backbone'], dropout=0.0)
    with pytest.raises(UserError, match='r_drop=0.7 for a model without dropout'):
        MODELS.build({**MODEL, 'backbone': backbone, 'r_drop': 0.7})
    assert set(MODELS.build(MODEL).train().loss(*make_loss_batch())) == {'loss'}
