"""Losses against plain formulas, and weights of classes against published ones."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from torch.nn import functional

from abaw_mm.errors import UserError
from abaw_mm.models import LogitAdjustedLoss, SoftmaxFocalLoss
from abaw_mm.models.losses import effective_number, inverse_frequency

# Frames of Aff-Wild2's training set that have a label and a crop.
COUNTS = np.array([177198, 16573, 10771, 9080, 95463, 78751, 31615, 165866])


def test_inverse_frequency_gives_the_published_weights():
    published = [1, 10.7, 16.5, 19.5, 1.86, 2.25, 5.6, 1.07]
    weights = inverse_frequency(COUNTS)
    for weight, text in zip(weights, published, strict=True):
        digits = len(str(text).split('.')[1]) if '.' in str(text) else 0
        assert round(weight, digits) == text


@pytest.mark.parametrize('beta', [0.9, 0.999, 0.9999])
def test_effective_number_equals_the_formula(beta):
    number = (1 - beta ** COUNTS.astype(float)) / (1 - beta)
    expected = (1 / number) / (1 / number).min()
    np.testing.assert_allclose(effective_number(COUNTS, beta), expected)
    # Cui et al.: between no weights and the inverse frequency
    assert np.all(effective_number(COUNTS, beta) <= inverse_frequency(COUNTS) + 1e-9)
    np.testing.assert_allclose(effective_number(COUNTS, 1 - 1e-9), inverse_frequency(COUNTS), 1e-3)


def test_absent_classes_weigh_nothing():
    assert inverse_frequency(np.array([4, 0, 1])).tolist() == [1, 0, 4]
    assert effective_number(np.array([4, 0, 1])).tolist()[1] == 0


def make_scores():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2, 3, 1, 1])


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weight', [None, [1.0, 2.0, 0.5, 4.0]])
def test_focal_loss_equals_the_formula(gamma, weight):
    score, label = make_scores()
    p = score.softmax(1)[torch.arange(6), label]
    w = torch.ones(4) if weight is None else torch.tensor(weight)
    expected = (w[label] * (1 - p) ** gamma * -p.log()).sum() / 6
    loss = SoftmaxFocalLoss(gamma, weight, loss_weight=3.0)(score, label)
    torch.testing.assert_close(loss, 3 * expected)
    if gamma == 0:
        plain = MODELS.build(dict(type='CrossEntropyLoss', class_weight=weight))
        torch.testing.assert_close(loss, 3 * plain(score, label, avg_factor=6))


def test_focal_loss_has_a_finite_gradient_where_a_frame_is_certain():
    score = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    for gamma in (0.5, 2.0):
        SoftmaxFocalLoss(gamma)(score, torch.tensor([0, 0])).backward()
        assert score.grad.isfinite().all()


def test_logit_adjusted_loss_equals_the_formula():
    score, label = make_scores()
    loss = LogitAdjustedLoss(tau=0.5)
    loss.prior = [0.4, 0.3, 0.2, 0.1]
    weighted = score.exp() * torch.tensor(loss.prior) ** 0.5
    expected = -(weighted[torch.arange(6), label] / weighted.sum(1)).log().mean()
    torch.testing.assert_close(loss(score, label), expected)
    torch.testing.assert_close(loss(score, label, avg_factor=3), 2 * expected)


def test_logit_adjusted_loss_needs_frequencies():
    with pytest.raises(UserError, match='no frequencies of the classes.*ClassFrequencyHook'):
        LogitAdjustedLoss()(*make_scores())
    with pytest.raises(UserError, match='got tau=0, expected above 0'):
        LogitAdjustedLoss(tau=0)


def test_adjusted_training_and_adjusted_scores_agree():
    """The optimum of the adjusted loss is the posterior divided by the prior (Menon et al.)."""
    prior = torch.tensor([0.7, 0.2, 0.1])
    posterior = torch.tensor([0.6, 0.3, 0.1])
    loss = LogitAdjustedLoss(tau=1.0)
    loss.prior = prior.tolist()
    score = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([score], max_iter=200, tolerance_grad=1e-10)

    def closure():
        optimizer.zero_grad()
        value = sum(p * loss(score, torch.tensor([c])) for c, p in enumerate(posterior))
        value.backward()
        return value

    optimizer.step(closure)
    expected = posterior / prior
    torch.testing.assert_close(
        functional.softmax(score[0].detach(), 0), expected / expected.sum(), atol=1e-4, rtol=0
    )
