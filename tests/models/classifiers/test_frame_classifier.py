"""Against mmpretrain's own model: same loss, same scores, same checkpoints."""

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS, OPTIM_WRAPPERS
from mmpretrain.structures import DataSample

from abaw_mm.compat.cpu import CPUAmpOptimWrapper
from abaw_mm.engine import auto_amp_optim_wrapper as mixed_precision
from abaw_mm.evaluation import MacroF1
from abaw_mm.models.backbones import folded_forward
from abaw_mm.models.classifiers import frame_classifier
from abaw_mm.structures import FrameBatch

MODEL = dict(
    backbone=dict(type='ResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=8, in_channels=512),
)


@pytest.fixture
def models():
    """Stock and ours, with the same weights."""
    torch.manual_seed(0)
    stock = MODELS.build(dict(MODEL, type='ImageClassifier')).eval()
    ours = MODELS.build(dict(MODEL, type='FrameClassifier', mixed_precision=False)).eval()
    ours.load_state_dict(stock.state_dict())
    return stock, ours


@pytest.fixture
def data():
    """Images, and their labels as a batch and as data samples."""
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


def test_same_loss_and_scores(models, data):
    stock, ours = models
    images, batch, samples = data
    loss = ours(images, [batch], mode='loss')['loss']
    torch.testing.assert_close(loss, stock(images, samples, mode='loss')['loss'])
    (predicted,) = ours(images, [batch], mode='predict')
    expected = stock(images, samples, mode='predict')
    torch.testing.assert_close(predicted.pred_score, torch.stack([s.pred_score for s in expected]))
    assert torch.equal(predicted.pred_label, torch.cat([s.pred_label for s in expected]))
    # and data samples go through as they do in mmpretrain
    again = ours(images, samples, mode='predict')
    torch.testing.assert_close(again[3].pred_score, expected[3].pred_score)


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


@pytest.mark.parametrize('stage', ['backbone', 'neck', 'pre_logits'])
@pytest.mark.parametrize('fold', [True, False])
def test_features_of_each_stage(models, data, stage, fold):
    stock, ours = models
    ours.fold = fold
    images = data[0]
    with torch.no_grad():
        got, expected = (model.extract_feat(images, stage) for model in (ours, stock))
    if stage == 'pre_logits':
        got, expected = (got,), (expected,)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_fold_is_used_and_can_be_turned_off(models, data, monkeypatch):
    _, ours = models
    seen = []
    monkeypatch.setattr(
        frame_classifier,
        'folded_forward',
        lambda *args: seen.append(args) or folded_forward.folded_forward(*args),
    )
    ours.extract_feat(data[0])
    ours.fold = False
    ours.extract_feat(data[0])
    assert len(seen) == 1


def test_scores_in_the_devices_type(models, data, monkeypatch):
    stock, ours = models
    images, batch, samples = data
    ours.mixed_precision = True
    monkeypatch.setattr(frame_classifier, 'amp_dtype', lambda device: torch.bfloat16)
    types = []
    ours.neck.register_forward_pre_hook(lambda module, args: types.append(args[0][-1].dtype))
    with torch.no_grad():
        (predicted,) = ours(images, [batch], mode='predict')
        again, expected = (  # data samples are filled in place
            torch.stack([s.pred_score for s in model(images, samples, mode='predict')])
            for model in (ours, stock)
        )
    assert types == [torch.bfloat16] * 2
    assert predicted.pred_score.dtype == torch.float32
    torch.testing.assert_close(predicted.pred_score.sum(1), torch.ones(5))
    torch.testing.assert_close(predicted.pred_score, expected, atol=0.02, rtol=0)
    assert torch.equal(again, predicted.pred_score)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_a_model_in_another_type(models, data, dtype, monkeypatch):
    monkeypatch.setattr(frame_classifier, 'amp_dtype', lambda device: torch.bfloat16)
    _, ours = models
    ours.mixed_precision = True
    with torch.no_grad():
        (predicted,) = ours.to(dtype)(data[0].to(dtype), [data[1]], mode='predict')
    assert predicted.pred_score.dtype == dtype


def test_autocast_around_is_left_alone(models, data):
    """As --amp asks for it, where the model asks for none."""
    _, ours = models
    types = []
    ours.neck.register_forward_pre_hook(lambda module, args: types.append(args[0][-1].dtype))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        ours(data[0], [data[1]], mode='predict')
    assert types == [torch.bfloat16]


def test_features_in_lists(monkeypatch):
    """Some of mmpretrain's backbones give lists within the tuple."""
    monkeypatch.setattr(frame_classifier, 'amp_dtype', lambda device: torch.bfloat16)
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


def test_channels_last_until_and_after_a_checkpoint(models):
    stock, ours = models
    conv = ours.backbone.layer2[0].conv1.weight
    assert conv.is_contiguous(memory_format=torch.channels_last)
    ours.load_state_dict(stock.state_dict())
    assert conv.is_contiguous(memory_format=torch.channels_last)
    stock.load_state_dict(ours.state_dict())
    assert stock.backbone.layer2[0].conv1.weight.is_contiguous()


@pytest.mark.parametrize(
    'dtype, wrapper',
    [
        (torch.bfloat16, CPUAmpOptimWrapper),
        (None, OptimWrapper),
    ],
)
def test_mixed_precision_by_the_device(monkeypatch, dtype, wrapper):
    monkeypatch.setattr(mixed_precision, 'amp_dtype', lambda device: dtype)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    built = OPTIM_WRAPPERS.build(
        dict(type='AutoAmpOptimWrapper', optimizer=optimizer, accumulative_counts=2)
    )
    assert type(built) is wrapper and built._accumulative_counts == 2


@pytest.mark.parametrize('capability, dtype', [((7, 0), torch.float16), ((9, 0), torch.bfloat16)])
def test_type_of_a_gpu(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    assert mixed_precision.amp_dtype(torch.device('cuda')) == dtype


def check_process():
    """Losses, gradients and one step of DDP: those of mmpretrain's own model."""
    model = dict(MODEL, backbone=dict(type='ResNet', depth=18, frozen_stages=3))
    losses, models = [], []
    for kind in ('ImageClassifier', 'FrameClassifier'):
        torch.manual_seed(0)
        model_of_kind = MODELS.build(dict(model, type=kind))
        model_of_kind.train()
        wrapped = MMDistributedDataParallel(model_of_kind, broadcast_buffers=False)
        images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(get_rank()))
        samples = [DataSample().set_gt_label(label) for label in range(4)]
        optimizer = torch.optim.SGD(model_of_kind.parameters(), lr=0.1)
        for _ in range(2):  # the second after the weights have changed
            optimizer.zero_grad()
            loss = wrapped(images, samples, mode='loss')['loss']
            loss.backward()
            optimizer.step()
        losses.append(loss)
        models.append(model_of_kind)
    torch.testing.assert_close(losses[1], losses[0], atol=1e-3, rtol=1e-3)
    for (name, one), other in zip(
        models[1].named_parameters(), models[0].parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-2, msg=name)


def test_two_processes(run_distributed):
    run_distributed(check_process)
