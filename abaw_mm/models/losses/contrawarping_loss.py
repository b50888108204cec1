"""Loss of ContraWarping."""

import torch
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn import functional as F

from abaw_mm.checks import at_least, between, check_arguments


def contrawarping_loss(
    predictions: tuple[torch.Tensor, torch.Tensor],
    targets: tuple[torch.Tensor, torch.Tensor],
    warped: torch.Tensor,
    margin: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the positive and the negative term of ContraWarping.

    The positive term is BYOL's (arXiv 2006.07733, Eq. 2, in both directions): the sum of
    ``2 - 2 cos(prediction of one view, target of the other)``, 0 to 8. The negative term is a
    triplet loss: ``max(0, cos(warped prediction of the first view, target of the second) -
    cos(prediction of the first view, target of the second) + margin)``. The paper does not give its
    form; docs/pretraining.md explains this choice.

    Args:
        predictions: Predictions of the two views, (N, D) each.
        targets: Targets of the two views, (N, D) each. They receive no gradient.
        warped: Predictions of the first view after ``RandomLocalWarp``, (N, D).
        margin: Required difference of the two cosines, 0 to 2.

    Returns:
        tuple: The positive and the negative term, scalars.

    >>> one, other = torch.tensor([[1., 0.]]), torch.tensor([[0., 1.]])
    >>> contrawarping_loss((one, one), (one, one), other, 0.5)
    (tensor(0.), tensor(0.))
    >>> contrawarping_loss((one, one), (one, one), one, 0.5)  # warped equals plain
    (tensor(0.), tensor(0.5000))
    """
    (first, second), (target_first, target_second) = predictions, targets
    agreement = _cosine(first, target_second)
    positive = 4 - 2 * (agreement + _cosine(second, target_first))
    negative = (_cosine(warped, target_second) - agreement + margin).clamp(min=0)
    return positive.mean(), negative.mean()


def _cosine(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    # In float32: half precision has too few digits near 1.
    return F.cosine_similarity(prediction.float(), target.detach().float(), dim=-1)


@MODELS.register_module()
class ContraWarpingLoss(nn.Module):
    """Compute :func:`contrawarping_loss` with a weight for the negative term.

    Args:
        negative_weight (float): Weight of the negative term, non-negative; 0 gives BYOL. Defaults
            to 4.0.
        margin (float): Required difference between the cosines of the plain and the warped view,
            0 to 2. Defaults to 0.2.

    Raises:
        ValueError: If an argument is out of range.
    """

    @check_arguments('model.head.loss', negative_weight=at_least(0), margin=between(0, 2))
    def __init__(self, negative_weight: float = 4.0, margin: float = 0.2) -> None:
        super().__init__()
        self.negative_weight = negative_weight
        self.margin = margin

    def forward(
        self,
        predictions: tuple[torch.Tensor, torch.Tensor],
        targets: tuple[torch.Tensor, torch.Tensor],
        warped: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Return ``loss_positive`` and the weighted ``loss_negative``; both are logged."""
        positive, negative = contrawarping_loss(predictions, targets, warped, self.margin)
        return dict(loss_positive=positive, loss_negative=self.negative_weight * negative)
