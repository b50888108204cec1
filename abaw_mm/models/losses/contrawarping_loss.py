"""Loss of ContraWarping."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn import functional as F

from abaw_mm.checks import at_least, between, check_arguments


def contrawarping_loss(
    agreements: Sequence[torch.Tensor], warped: torch.Tensor, margin: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the positive and the negative term of ContraWarping.

    The positive term is BYOL's (arXiv 2006.07733, Eq. 2): the sum of ``2 - 2 cos(prediction of one
    view, target of the other)`` over one or both directions. The negative term pushes the
    predictions of the plain and the warped first view apart until their distance on the unit
    sphere, ``sqrt(2 - 2 cos)``, is the margin: ``max(0, margin - distance)``. The paper does not
    give its form; docs/pretraining.md explains this choice.

    Args:
        agreements: Cosines (N,) between the prediction of one view and the target of the other, for
            the first view and, in BYOL's symmetric form, for the second one.
        warped: Cosine (N,) between the predictions of the plain and the warped first view.
        margin: Required distance, 0 to 2.

    Returns:
        tuple: The positive and the negative term, scalars.

    >>> one, zero = torch.ones(1), torch.zeros(1)
    >>> contrawarping_loss([one, one], zero, 0.5)
    (tensor(0.), tensor(0.))
    >>> contrawarping_loss([one], torch.tensor([1 - 0.4**2 / 2]), 0.5)[1]
    tensor(0.1000)
    """
    positive = torch.stack([2 - 2 * agreement for agreement in agreements]).sum(0)
    # The gradient of the square root is infinite at 0.
    distance = (2 - 2 * warped).clamp(min=1e-6).sqrt()
    return positive.mean(), (margin - distance).clamp(min=0).mean()


def cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Compute the cosines (N,) of features (N, D), in float32: half has too few digits near 1."""
    return F.cosine_similarity(one.float(), other.float(), dim=-1)


@MODELS.register_module()
class ContraWarpingLoss(nn.Module):
    """Compute :func:`contrawarping_loss` with a weight for the negative term.

    Args:
        negative_weight (float): Weight of the negative term, non-negative; 0 gives BYOL. Defaults
            to 1.0.
        margin (float): Required distance between the predictions of the plain and the warped view
            on the unit sphere, 0 to 2. Defaults to 0.5.

    Raises:
        ValueError: If an argument is out of range.
    """

    @check_arguments('model.head.loss', negative_weight=at_least(0), margin=between(0, 2))
    def __init__(self, negative_weight: float = 1.0, margin: float = 0.5) -> None:
        super().__init__()
        self.negative_weight = negative_weight
        self.margin = margin

    def forward(
        self, agreements: Sequence[torch.Tensor], warped: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return ``loss_positive`` and the weighted ``loss_negative``; both are logged."""
        positive, negative = contrawarping_loss(agreements, warped, self.margin)
        return dict(loss_positive=positive, loss_negative=self.negative_weight * negative)
