"""Heads of valence-arousal, action units and all three, against formulas of plain PyTorch."""

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from abaw_mm.models import ActionUnitHead, MultiTrackHead, TemporalClassifier, ValenceArousalHead
from abaw_mm.models.heads.valence_arousal_head import concordance_loss
from abaw_mm.structures import FrameBatch

WIDTH, SIZE = 6, 9
KINDS = [ValenceArousalHead, ActionUnitHead, MultiTrackHead]


def make_features(seed=0):
    return (torch.randn(SIZE, WIDTH, generator=torch.Generator().manual_seed(seed)),)


def make_targets(seed=0):
    rng = np.random.default_rng(seed)
    return dict(
        gt_va=torch.from_numpy(rng.uniform(-1, 1, (SIZE, 2)).astype(np.float32)),
        gt_label=torch.from_numpy(rng.integers(0, 8, SIZE)),
        gt_au=torch.from_numpy(rng.integers(0, 2, (SIZE, 12))),
    )


def make_batch(targets):
    numbers = dict(clip_id=torch.zeros(SIZE).long(), frame_no=torch.arange(SIZE))
    return [FrameBatch(metainfo=dict(clips=['a']), **numbers, **targets)]


def make_samples(targets):
    samples = []
    for row in range(SIZE):
        sample = DataSample().set_gt_label(targets['gt_label'][row])
        sample.set_field(targets['gt_va'][row].numpy(), 'gt_va')  # as PackInputs sets them
        sample.set_field(targets['gt_au'][row].numpy(), 'gt_au')
        samples.append(sample)
    return samples


def build(kind, **kwargs):
    torch.manual_seed(0)
    head = kind(in_channels=WIDTH, **kwargs)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


def total(losses):
    return sum(losses.values())


@pytest.mark.parametrize(('ccc', 'mse'), [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_valence_arousal_loss_equals_formula(ccc, mse):
    head, feats, targets = build(ValenceArousalHead, ccc_weight=ccc, mse_weight=mse), *prepare()
    targets['gt_va'][2, 1] = -5  # one hidden value hides the frame
    keep = [0, 1, 3, 4, 5, 6, 7, 8]
    pred, target = head(feats).tanh()[keep], targets['gt_va'][keep]
    cov = [torch.cov(torch.stack([pred[:, k], target[:, k]]), correction=0) for k in (0, 1)]
    means = [pred[:, k].mean() - target[:, k].mean() for k in (0, 1)]
    each = [2 * c[0, 1] / (c[0, 0] + c[1, 1] + m**2) for c, m in zip(cov, means, strict=True)]
    expected = ccc * (1 - sum(each) / 2) + mse * ((pred - target) ** 2).mean()
    assert total(head.loss(feats, make_batch(targets))).item() == pytest.approx(
        expected.item(), abs=1e-6
    )


def prepare():
    return make_features(), make_targets()


@pytest.mark.parametrize('name', ['bce', 'weighted', 'focal', 'asymmetric'])
def test_action_unit_loss_equals_formula(name):
    weights = [float(k + 1) for k in range(12)]
    loss = dict(
        bce=None,
        weighted=dict(type='CrossEntropyLoss', use_sigmoid=True, pos_weight=weights),
        focal=dict(type='FocalLoss', gamma=2.0, alpha=0.25),
        asymmetric=dict(type='AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
    )[name]
    head, feats, targets = build(ActionUnitHead, loss=loss), *prepare()
    targets['gt_au'][0, 5] = -1
    score, y = head(feats)[1:], targets['gt_au'][1:].float()
    p = score.sigmoid()
    expected = dict(
        bce=functional.binary_cross_entropy(p, y),
        weighted=functional.binary_cross_entropy_with_logits(
            score, y, pos_weight=torch.tensor(weights)
        ),
        focal=-(0.25 * y * (1 - p) ** 2 * p.log() + 0.75 * (1 - y) * p**2 * (1 - p).log()).mean(),
        asymmetric=-(
            y * p.log()
            + (1 - y) * (p - 0.05).clamp(min=0) ** 4 * (1 - (p - 0.05).clamp(min=0)).log()
        ).mean(),
    )[name]
    got = total(head.loss(feats, make_batch(targets)))
    assert got.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)


def split(head, feats, targets):
    """Compute the losses of the parts of a MultiTrackHead by its parts."""
    va = concordance_loss(head.va(feats).tanh(), targets['gt_va'])
    expr = functional.cross_entropy(head.expr(feats), targets['gt_label'])
    au = functional.binary_cross_entropy_with_logits(head.au(feats), targets['gt_au'].float())
    return va, expr, au


def test_multi_task_loss_with_fixed_weights():
    head, feats, targets = build(MultiTrackHead, weights=dict(va=2.0, au=0.5)), *prepare()
    losses = head.loss(feats, make_batch(targets))
    va, expr, au = split(head, feats, targets)
    assert list(losses) == ['loss_va', 'loss_expr', 'loss_au']
    got = [value.item() for value in losses.values()]
    assert got == pytest.approx([2 * va.item(), expr.item(), 0.5 * au.item()], abs=1e-6)


def test_multi_task_loss_by_uncertainty():
    head, feats, targets = build(MultiTrackHead, weights='uncertainty'), *prepare()
    with torch.no_grad():
        head.log_variance.copy_(torch.tensor([0.4, -0.3, 0.2]))
    got = [value.item() for value in head.loss(feats, make_batch(targets)).values()]
    parts = [value.item() for value in split(head, feats, targets)]
    expected = [
        factor * np.exp(-s) * part + s / 2
        for factor, s, part in zip((0.5, 1, 1), (0.4, -0.3, 0.2), parts, strict=True)
    ]
    assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('weights', [None, 'uncertainty'])
@pytest.mark.parametrize(
    ('name', 'hidden', 'part'), [('gt_va', -5, 'va'), ('gt_label', -1, 'expr'), ('gt_au', -1, 'au')]
)
def test_part_without_annotation_adds_nothing(weights, name, hidden, part):
    head, feats, targets = build(MultiTrackHead, weights=weights), *prepare()
    targets[name][:] = hidden
    losses = head.loss(feats, make_batch(targets))
    assert losses[f'loss_{part}'].item() == 0
    total(losses).backward()
    for parameter_name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
        if parameter_name.startswith(part):
            assert not parameter.grad.any()


@pytest.mark.parametrize('rows', [[4], [4, 4, 4]])
def test_batch_without_variance_has_finite_gradients(rows):
    head = build(ValenceArousalHead)
    feats = (make_features()[0][rows].requires_grad_(),)
    score = head(feats)
    loss, known = head.compute_loss(score, make_targets()['gt_va'][rows])
    loss.backward()
    assert known and loss.item() == pytest.approx(1) and feats[0].grad.isfinite().all()


@pytest.mark.parametrize('kind', KINDS)
def test_frame_batch_equals_data_samples(kind):
    head, feats, targets = build(kind), *prepare()
    targets['gt_va'][1] = -5
    targets['gt_label'][2] = -1
    targets['gt_au'][3, 0] = -1
    one, other = (head.loss(feats, make(targets)) for make in (make_batch, make_samples))
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].item() == pytest.approx(other[name].item(), abs=1e-7)
    columns = head.predict_columns(feats)
    for row, sample in enumerate(head.predict(feats, make_samples(targets))):
        for name, values in columns.items():
            assert torch.equal(sample.get(name), values[row])
    if 'pred_score' in columns:
        assert sample.pred_label.item() == columns['pred_score'][row].argmax()


@pytest.mark.parametrize('kind', KINDS)
def test_temporal_classifier_sets_predictions(kind):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='TemporalClassifier',
            backbone=dict(type='TemporalConvNet', in_channels=4, channels=WIDTH, num_layers=1),
            head=dict(type=kind.__name__, in_channels=WIDTH),
            data_preprocessor=dict(type='WindowDataPreprocessor'),
        )
    ).eval()
    targets = make_targets()
    scored = torch.tensor([[False, True, True, True, False]] * 3)
    data = dict(
        inputs=torch.randn(3, 5, 4).half(),
        seen=torch.ones(3, 5).bool(),
        scored=scored,
        frame_no=torch.arange(15).reshape(3, 5),
        clip=['a', 'a', 'b'],
        sample_idx=torch.arange(3),
    )
    for name, values in targets.items():
        padded = torch.full((3, 5, *values.shape[1:]), -1, dtype=values.dtype)
        padded[scored] = values
        data[name] = padded
    with torch.no_grad():
        batch = model.test_step(data)[0]
    columns = dict(pred_va=2, pred_score=8, pred_au=12)
    names = {ValenceArousalHead: ['pred_va'], ActionUnitHead: ['pred_au']}.get(kind, columns)
    for name in names:
        assert batch.get(name).shape == (SIZE, columns[name])
    for name, values in targets.items():
        assert torch.equal(batch.get(name), values)
    model.train()
    data = model.data_preprocessor(data, training=True)
    assert total(model(**data, mode='loss')).isfinite()


def test_r_drop_is_refused():
    with pytest.raises(ValueError, match='got r_drop=1.0 with MultiTrackHead, expected a head of'):
        TemporalClassifier(
            r_drop=1.0,
            backbone=dict(type='FrameMLP', in_channels=4, channels=WIDTH, dropout=0.5),
            head=dict(type='MultiTrackHead', in_channels=WIDTH),
        )


@pytest.mark.parametrize(
    ('kind', 'kwargs', 'message'),
    [
        (ValenceArousalHead, dict(ccc_weight=0.0), 'expected one above 0'),
        (ActionUnitHead, dict(loss=dict(type='CrossEntropyLoss')), 'use_sigmoid=True'),
        (
            ActionUnitHead,
            dict(loss=dict(type='CrossEntropyLoss', use_sigmoid=True, pos_weight=[1.0])),
            'got 1 numbers as pos_weight, expected 12',
        ),
        (MultiTrackHead, dict(weights=dict(valence=1)), "expected 'uncertainty' or a dict"),
        (MultiTrackHead, dict(weights='kendall'), "expected 'uncertainty' or a dict"),
    ],
)
def test_wrong_arguments_are_refused(kind, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kind(in_channels=WIDTH, **kwargs)


def test_frames_of_another_track_are_refused():
    targets = make_targets()
    del targets['gt_va']
    with pytest.raises(ValueError, match='MultiTrackHead: got training frames without gt_va'):
        build(MultiTrackHead).loss(make_features(), make_batch(targets))


def check_rank(weights):
    """Step where one rank has no annotated frame of any part."""
    head = build(MultiTrackHead, weights=weights)
    feats, targets = make_features(), make_targets()
    expected = torch.autograd.grad(total(head.loss(feats, make_batch(targets))), head.au.fc.weight)
    if get_rank() == 1:
        targets['gt_va'][:], targets['gt_label'][:], targets['gt_au'][:] = -5, -1, -1
    head.forward = lambda feats, batch=None: (
        type(head).forward(head, feats) if batch is None else head.loss(feats, batch)
    )
    model = DistributedDataParallel(head)
    for _ in range(2):  # DDP fails in the second step if a parameter was unused
        head.zero_grad()
        total(model(feats, make_batch(targets))).backward()
    torch.testing.assert_close(head.au.fc.weight.grad, expected[0] / 2)


@pytest.mark.slow
@pytest.mark.parametrize('weights', [None, 'uncertainty'])
def test_rank_without_annotations_takes_part_in_the_step(run_distributed, weights):
    run_distributed(check_rank, weights)
