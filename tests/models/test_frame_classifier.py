"""Batches as arrays through mmpretrain's own model: same loss, same scores."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from abaw_mm.evaluation import MacroF1
from abaw_mm.structures import FrameBatch

MODEL = dict(
    backbone=dict(type='ResNet', depth=18), neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=8, in_channels=512)
)


@pytest.fixture
def models():
    """Stock and ours, with the same weights."""
    torch.manual_seed(0)
    stock = MODELS.build(dict(MODEL, type='ImageClassifier')).eval()
    ours = MODELS.build(dict(MODEL, type='FrameClassifier')).eval()
    ours.load_state_dict(stock.state_dict())
    return stock, ours


@pytest.fixture
def data():
    """Images, and their labels as a batch and as data samples."""
    images = torch.randn(5, 3, 64, 64)
    label = torch.tensor([0, 7, 3, 3, 1])
    batch = FrameBatch(
        metainfo=dict(clips=['b', 'a']), gt_label=label, sample_idx=torch.arange(5),
        frame_no=torch.arange(1, 6), clip_id=torch.tensor([0, 0, 1, 1, 1])
    )
    samples = [
        DataSample(metainfo=dict(clip='ba'[i > 1], frame_no=i + 1)).set_gt_label(int(x))
        for i, x in enumerate(label)
    ]
    return images, batch, samples


def test_same_loss_and_scores(models, data):
    stock, ours = models
    images, batch, samples = data
    loss = ours(images, [batch], mode='loss')['loss']
    assert torch.equal(loss, stock(images, samples, mode='loss')['loss'])
    (predicted, ) = ours(images, [batch], mode='predict')
    expected = stock(images, samples, mode='predict')
    assert torch.equal(predicted.pred_score, torch.stack([s.pred_score for s in expected]))
    assert torch.equal(predicted.pred_label, torch.cat([s.pred_label for s in expected]))
    # and data samples go through as they do in mmpretrain
    again = ours(images, samples, mode='predict')
    assert torch.equal(again[3].pred_score, expected[3].pred_score)


def test_same_figures_from_the_metric(models, data):
    stock, ours = models
    images, batch, samples = data
    figures = []
    for model, some in ((stock, samples), (ours, [batch])):
        metric = MacroF1()
        with torch.no_grad():
            predicted = model(images, some, mode='predict')
        metric.process(None, [sample.to_dict() for sample in predicted])
        figures.append(metric.evaluate(5))
    assert figures[0] == figures[1]


def test_mmpretrains_classifier_cannot_score_a_batch_in_part(models, data):
    stock, _ = models
    images, batch, _ = data
    with pytest.raises(ValueError, match="type='FrameClassifier'"):
        stock(images, [batch], mode='predict')
