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
    view, target of the other)`` over one or both directions. The negative term is a triplet loss:
    ``max(0, cos(warped prediction of the first view, target of the second) - cos(prediction of the
    first view, target of the second) + margin)``. The paper does not give its form;
    docs/pretraining.md explains this choice.

    Args:
        agreements: Cosines (N,) between the prediction of one view and the target of the other, for
            the first view and, in BYOL's symmetric form, for the second one.
        warped: Cosine (N,) between the prediction of the warped first view and the target of the
            second view.
        margin: Required difference of the two cosines, 0 to 2.

    Returns:
        tuple: The positive and the negative term, scalars.

    >>> one, zero = torch.ones(1), torch.zeros(1)
    >>> contrawarping_loss([one, one], zero, 0.5)
    (tensor(0.), tensor(0.))
    >>> contrawarping_loss([one], one, 0.5)  # warped equals plain
    (tensor(0.), tensor(0.5000))
    """
    positive = torch.stack([2 - 2 * agreement for agreement in agreements]).sum(0)
    negative = (warped - agreements[0] + margin).clamp(min=0)
    return positive.mean(), negative.mean()


def cosine(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the cosines (N,) of predictions and targets (N, D); targets get no gradient."""
    # In float32: half precision has too few digits near 1.
    return F.cosine_similarity(prediction.float(), target.detach().float(), dim=-1)


@MODELS.register_module()
class ContraWarpingLoss(nn.Module):
    """Compute :func:`contrawarping_loss` with a weight for the negative term.

    Args:
        negative_weight (float): Weight of the negative term, non-negative; 0 gives BYOL. Defaults
            to 2.0.
        margin (float): Required difference between the cosines of the plain and the warped view,
            0 to 2. Defaults to 0.3.

    Raises:
        ValueError: If an argument is out of range.
    """

    @check_arguments('model.head.loss', negative_weight=at_least(0), margin=between(0, 2))
    def __init__(self, negative_weight: float = 2.0, margin: float = 0.3) -> None:
        super().__init__()
        self.negative_weight = negative_weight
        self.margin = margin

    def forward(
        self, agreements: Sequence[torch.Tensor], warped: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return ``loss_positive`` and the weighted ``loss_negative``; both are logged."""
        positive, negative = contrawarping_loss(agreements, warped, self.margin)
        return dict(loss_positive=positive, loss_negative=self.negative_weight * negative)
