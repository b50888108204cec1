"""FrameClassifier: loss, scores and checkpoints equal those of ``ImageClassifier``."""

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.model import MMDistributedDataParallel
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from abaw_mm.evaluation import MacroF1
from abaw_mm.models.classifiers import frame_classifier
from abaw_mm.structures import FrameBatch

MODEL = dict(
    backbone=dict(type='ResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=8, in_channels=512),
)


@pytest.fixture
def models():
    """Return mmpretrain's classifier and ours with the same weights."""
    torch.manual_seed(0)
    stock = MODELS.build(dict(MODEL, type='ImageClassifier')).eval()
    ours = MODELS.build(dict(MODEL, type='FrameClassifier', mixed_precision=False)).eval()
    ours.load_state_dict(stock.state_dict())
    return stock, ours


@pytest.fixture
def data():
    """Return images, and their labels as one batch and as data samples."""
    images = torch.randn(5, 3, 64, 64)
    label = torch.tensor([0, 7, 3, 3, 1])
    batch = FrameBatch(
        metainfo=dict(clips=['b', 'a']),
        gt_label=label,
        sample_idx=torch.arange(5),
        frame_no=torch.arange(1, 6),
        clip_id=torch.tensor([0, 0, 1, 1, 1]),
    )
    samples = [
        DataSample(metainfo=dict(clip='ba'[i > 1], frame_no=i + 1)).set_gt_label(int(x))
        for i, x in enumerate(label)
    ]
    return images, batch, samples


@pytest.fixture
def use_bfloat16(monkeypatch):
    monkeypatch.setattr(frame_classifier, 'amp_dtype', lambda device: torch.bfloat16)


def record_neck_dtypes(model):
    """Return a list to which the dtype of each input of the neck is appended."""
    dtypes = []
    model.neck.register_forward_pre_hook(lambda module, args: dtypes.append(args[0][-1].dtype))
    return dtypes


def test_loss_and_scores_equal_mmpretrain(models, data):
    stock, ours = models
    images, batch, samples = data
    loss = ours(images, [batch], mode='loss')['loss']
    torch.testing.assert_close(loss, stock(images, samples, mode='loss')['loss'])
    (predicted,) = ours(images, [batch], mode='predict')
    expected = stock(images, samples, mode='predict')
    torch.testing.assert_close(predicted.pred_score, torch.stack([s.pred_score for s in expected]))
    assert torch.equal(predicted.pred_label, torch.cat([s.pred_label for s in expected]))
    # Data samples work as in mmpretrain.
    again = ours(images, samples, mode='predict')
    torch.testing.assert_close(again[3].pred_score, expected[3].pred_score)


def test_metric_is_the_same_for_batches_and_data_samples(models, data):
    stock, ours = models
    images, batch, samples = data
    metrics = []
    for model, data_samples in ((stock, samples), (ours, [batch])):
        metric = MacroF1()
        with torch.no_grad():
            predicted = model(images, data_samples, mode='predict')
        metric.process(None, [sample.to_dict() for sample in predicted])
        metrics.append(metric.evaluate(5))
    assert metrics[0] == metrics[1]


def test_image_classifier_raises_for_a_frame_batch(models, data):
    stock, _ = models
    images, batch, _ = data
    with pytest.raises(ValueError, match="type='FrameClassifier'"):
        stock(images, [batch], mode='predict')


@pytest.mark.parametrize('stage', ['backbone', 'neck', 'pre_logits'])
def test_features_of_each_stage_equal_mmpretrain(models, data, stage):
    stock, ours = models
    with torch.no_grad():
        got, expected = (model.extract_feat(data[0], stage) for model in (ours, stock))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_scores_use_mixed_precision(models, data, use_bfloat16):
    stock, ours = models
    images, batch, samples = data
    ours.mixed_precision = True
    dtypes = record_neck_dtypes(ours)
    with torch.no_grad():
        (predicted,) = ours(images, [batch], mode='predict')
        again, expected = (  # data samples are filled in place
            torch.stack([s.pred_score for s in model(images, samples, mode='predict')])
            for model in (ours, stock)
        )
    assert dtypes == [torch.bfloat16] * 2
    assert predicted.pred_score.dtype == torch.float32
    torch.testing.assert_close(predicted.pred_score.sum(1), torch.ones(5))
    torch.testing.assert_close(predicted.pred_score, expected, atol=0.02, rtol=0)
    assert torch.equal(again, predicted.pred_score)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_explicit_dtype_is_respected(models, data, dtype, use_bfloat16):
    _, ours = models
    ours.mixed_precision = True
    with torch.no_grad():
        (predicted,) = ours.to(dtype)(data[0].to(dtype), [data[1]], mode='predict')
    assert predicted.pred_score.dtype == dtype


def test_outer_autocast_is_respected(models, data):
    """``--amp`` has an effect if the model itself does not use mixed precision."""
    _, ours = models
    dtypes = record_neck_dtypes(ours)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        ours(data[0], [data[1]], mode='predict')
    assert dtypes == [torch.bfloat16]


@pytest.mark.parametrize('head', ['LinearClsHead', 'ArcFaceClsHead'])
def test_loss_in_mixed_precision(data, head):
    """Heads that switch autocast off can be trained; the linear head's gradients do not change."""
    images, batch, samples = data
    grads = []
    for kind, labels in (('FrameClassifier', [batch]), ('ImageClassifier', samples)):
        if (kind, head) == ('ImageClassifier', 'ArcFaceClsHead'):
            continue  # mmpretrain's own classifier raises a RuntimeError
        torch.manual_seed(0)
        model = MODELS.build(dict(MODEL, type=kind, head=dict(MODEL['head'], type=head)))
        model.to(memory_format=torch.channels_last)
        with torch.autocast('cpu', torch.bfloat16):
            loss = model(images, labels, mode='loss')['loss']
        loss.backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.isfinite(grad).all() and grad.any() for grad in grads[0])
    assert all(map(torch.equal, *grads)) if len(grads) == 2 else True


def test_features_in_nested_lists_are_scored(use_bfloat16):
    """Some of mmpretrain's backbones return lists inside the tuple."""
    model = MODELS.build(
        dict(
            type='FrameClassifier',
            backbone=dict(type='DistilledVisionTransformer', arch='deit-tiny', img_size=32),
            head=dict(type='DeiTClsHead', num_classes=8, in_channels=192),
        )
    ).eval()
    with torch.no_grad():
        (sample,) = model(torch.randn(1, 3, 32, 32), mode='predict')
    assert sample.pred_score.dtype == torch.float32


def test_weights_stay_channels_last_when_a_checkpoint_loads(models):
    stock, ours = models
    conv = ours.backbone.layer2[0].conv1.weight
    assert conv.is_contiguous(memory_format=torch.channels_last)
    ours.load_state_dict(stock.state_dict())
    assert conv.is_contiguous(memory_format=torch.channels_last)
    stock.load_state_dict(ours.state_dict())
    assert stock.backbone.layer2[0].conv1.weight.is_contiguous()


def check_process():
    """Compare loss and parameters after two steps of DDP with those of mmpretrain."""
    cfg = dict(MODEL, backbone=dict(type='ResNet', depth=18, frozen_stages=3))
    losses, models = [], []
    for kind in ('ImageClassifier', 'FrameClassifier'):
        torch.manual_seed(0)
        model = MODELS.build(dict(cfg, type=kind)).train()
        wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
        images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(get_rank()))
        samples = [DataSample().set_gt_label(label) for label in range(4)]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):  # the second step uses the changed weights
            optimizer.zero_grad()
            loss = wrapped(images, samples, mode='loss')['loss']
            loss.backward()
            optimizer.step()
        losses.append(loss)
        models.append(model)
    torch.testing.assert_close(losses[1], losses[0], atol=1e-3, rtol=1e-3)
    for (name, one), other in zip(
        models[1].named_parameters(), models[0].parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-2, msg=name)


@pytest.mark.slow
def test_training_equals_mmpretrain_on_two_processes(run_distributed):
    run_distributed(check_process)
