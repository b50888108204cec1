"""ContraWarping: loss against the formula, gradients and target update of a step."""

import copy
import math

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS

from abaw_mm.models.losses.contrawarping_loss import ContraWarpingLoss, contrawarping_loss, cosine


def make_vectors(degrees):
    """Return vectors (N, 2) of the given directions; their length does not matter."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return 3 * torch.stack([angle.cos(), angle.sin()], -1)


def cos(degrees):
    return math.cos(math.radians(degrees))


def test_loss_equals_formula():
    targets = make_vectors([90.0, 80.0]), make_vectors([60.0, 0.0])  # each of the other view
    first, second = make_vectors([0.0, 10.0]), make_vectors([30.0, 20.0])
    agreements = [cosine(first, targets[0]), cosine(second, targets[1])]
    warped = cosine(make_vectors([20.0, 20.0]), first)
    positive, negative = contrawarping_loss(agreements, warped, margin=0.4)
    faces = (2 - 2 * cos(90)) + (2 - 2 * cos(30)), (2 - 2 * cos(70)) + (2 - 2 * cos(20))
    assert positive.item() == pytest.approx(sum(faces) / 2, abs=1e-5)
    # Unit vectors at an angle of a are 2 sin(a / 2) apart.
    gaps = 0.4 - 2 * math.sin(math.radians(10)), 0.4 - 2 * math.sin(math.radians(5))
    assert negative.item() == pytest.approx(sum(gaps) / 2, abs=1e-5)
    one_way, same = contrawarping_loss(agreements[:1], warped, margin=0.4)
    assert one_way.item() == pytest.approx((4 - 2 * cos(90) - 2 * cos(70)) / 2, abs=1e-5)
    assert torch.equal(same, negative)


def test_positive_term_equals_byol():
    """mmpretrain omits the constant 4."""
    a, b, c, d = torch.randn(4, 8, 16)
    byol = MODELS.build(dict(type='CosineSimilarityLoss'))
    positive, _ = contrawarping_loss([cosine(a, d), cosine(b, c)], cosine(a, d), 0.0)
    torch.testing.assert_close(positive, 2 * (byol(a, d) + byol(b, c)) + 4)


def test_negative_term_pushes_alike_at_any_distance_below_the_margin():
    """A cosine would hardly push views that are nearly the same; beyond the margin nothing does."""
    warped = make_vectors([0.5, 20.0, 40.0])[:, None].requires_grad_()
    for row in warped:
        agreement = cosine(make_vectors([0.0]), make_vectors([0.0]))
        losses = ContraWarpingLoss(negative_weight=3.0, margin=0.5)(
            [agreement], cosine(row, make_vectors([0.0]))
        )
        sum(losses.values()).backward()
    near, middle, beyond = warped.grad[:, 0].norm(dim=-1).tolist()
    # 3 times the change of 2 sin(a / 2) per turn of a vector of length 3.
    assert near == pytest.approx(math.cos(math.radians(0.25)), rel=1e-2)
    assert middle == pytest.approx(math.cos(math.radians(10)), rel=1e-4)
    assert beyond == 0


def test_negative_term_of_equal_views_is_finite():
    same = torch.ones(2, 3, requires_grad=True)
    contrawarping_loss([torch.ones(2)], cosine(same, same), 0.5)[1].backward()
    assert torch.isfinite(same.grad).all()


def test_loss_of_moving_both_views_away_does_not_fall():
    """The negative term depends on what distinguishes the two views only."""
    here, there = make_vectors([0.0]), make_vectors([120.0])
    pairs = [(here, make_vectors([10.0])), (there, make_vectors([130.0]))]
    negatives = [contrawarping_loss([torch.ones(1)], cosine(*pair), 0.5)[1] for pair in pairs]
    torch.testing.assert_close(*negatives)


@pytest.mark.parametrize(
    'settings', [dict(negative_weight=-1.0), dict(margin=-0.1), dict(margin=2.5)]
)
def test_argument_out_of_range_raises(settings):
    with pytest.raises(ValueError, match=f'model.head.loss.{next(iter(settings))}'):
        ContraWarpingLoss(**settings)


def build_model(kind='ContraWarping', **settings):
    torch.manual_seed(0)
    neck = dict(
        type='NonLinearNeck',
        in_channels=64,
        hid_channels=16,
        out_channels=8,
        with_last_bn=False,
        norm_cfg=dict(type='BN1d'),
    )
    loss = 'ContraWarpingLoss' if kind == 'ContraWarping' else 'CosineSimilarityLoss'
    model = MODELS.build(
        dict(
            type=kind,
            backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
            neck=neck,
            head=dict(
                type='LatentPredictHead',
                loss=dict(type=loss),
                predictor=dict(neck, in_channels=8, with_avg_pool=False),
            ),
            data_preprocessor=dict(
                type='FaceViewDataPreprocessor',
                mean=[127.5] * 3,
                std=[127.5] * 3,
                view_size=32,
                warp=dict(type='RandomLocalWarp', strength=0.2),
            ),
            **settings,
        )
    )
    model.init_weights()
    MessageHub.get_current_instance().update_info('max_iters', 10)
    return model


def make_batch(seed=0, faces=4):
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (faces, 3, 32, 32), generator=rng).byte()
    return dict(inputs=images, data_samples=[None] * faces)


def compute_losses(model, data, seed=0):
    torch.manual_seed(seed)  # of the views
    return model(**model.data_preprocessor(data, training=True), mode='loss')


def test_gradients_reach_only_the_online_network():
    model = build_model().train()
    losses = compute_losses(model, make_batch())
    assert set(losses) == {'loss_positive', 'loss_negative'}
    assert 0 <= losses['loss_positive'] <= 4 and 0 <= losses['loss_negative'] <= 0.5
    total, logged = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_positive'] + losses['loss_negative'])
    assert set(logged) == {'loss', *losses}
    total.backward()
    for name, parameter in model.named_parameters():
        target = name.startswith('target_net.')
        assert parameter.requires_grad is not target
        assert (parameter.grad is None) is target, name


def test_target_update_equals_formula():
    model = build_model(base_momentum=0.1).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    wrapper = OptimWrapper(optimizer)
    model.train_step(make_batch(), wrapper)  # the first step copies the online network
    for step in (1, 2):
        online = copy.deepcopy(model.neck.fc0.weight)
        before = copy.deepcopy(model.target_net.module[1].fc0.weight)
        model.train_step(make_batch(step), wrapper)
        share = 0.1 * (math.cos(math.pi * step / 10) + 1) / 2  # BYOL's cosine to 0
        torch.testing.assert_close(
            model.target_net.module[1].fc0.weight, (1 - share) * before + share * online
        )


def test_zero_negative_weight_gives_gradients_of_byol():
    """With separate batches, the warped one only changes BN statistics, which are not read."""
    ours, byol = build_model(symmetric=True, shared_bn=False), build_model('BYOL')
    ours.head.loss_module.negative_weight = 0.0
    byol.load_state_dict(ours.state_dict())
    for model in (ours, byol):
        model.train()
        loss, _ = model.parse_losses(compute_losses(model, make_batch()))
        loss.backward()
    for mine, theirs in zip(ours.backbone.parameters(), byol.backbone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-3)


class Listed(torch.nn.Sequential):
    """Return a list, like the necks of mmpretrain."""

    def forward(self, inputs):
        inputs = inputs[0] if isinstance(inputs, list) else inputs
        return [super().forward(inputs)]


def test_shared_bn_normalises_views_with_common_statistics():
    """A view that is brighter than the other stays so; separate batches remove the difference."""
    bright = torch.rand(6, 3, 32, 32)
    gaps = {}
    for shared in (True, False):
        model = build_model(shared_bn=shared).train()
        model.backbone = torch.nn.BatchNorm2d(3)
        model.neck = Listed(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        model.head.predictor = Listed()
        dark, light = model.predict_latents([bright, bright + 1])
        gaps[shared] = (light - dark).mean().item()
    assert gaps[True] > 1 and abs(gaps[False]) < 1e-4


def test_one_direction_is_the_first_half_of_the_symmetric_loss():
    views = list(torch.rand(3, 4, 3, 32, 32))
    losses = {}
    for symmetric in (True, False):
        model = build_model(symmetric=symmetric, shared_bn=False).train()
        losses[symmetric] = model.loss(views, [])
        torch.manual_seed(0)
    assert torch.equal(losses[True]['loss_negative'], losses[False]['loss_negative'])
    assert losses[True]['loss_positive'] > losses[False]['loss_positive']


def test_missing_warp_is_named():
    model = build_model()
    with pytest.raises(ValueError, match='got 2 views, .* set data_preprocessor.warp'):
        model.loss(list(torch.rand(2, 4, 3, 32, 32)), [])


def test_step_lowers_the_negative_term():
    model = build_model().train()
    model.head.loss_module.margin = 2.0
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    negatives = []
    for _ in range(2):
        loss = compute_losses(model, make_batch())['loss_negative']
        negatives.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert model.backbone.conv1.weight.grad.abs().max() > 0
        optimizer.step()
        model.target_net.steps.fill_(10)  # the target does not change any more
    assert negatives[1] < negatives[0]
