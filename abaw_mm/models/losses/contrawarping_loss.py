"""Pull two views of a face together, push its warped picture away."""

import torch
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn import functional as F


def contrawarping_loss(
    predictions: tuple[torch.Tensor, torch.Tensor],
    targets: tuple[torch.Tensor, torch.Tensor],
    warped: torch.Tensor,
    margin: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two terms of ContraWarping.

    The positive term is BYOL's (arXiv 2006.07733, Eq. 2, both ways): the squared distance of the
    unit vectors, ``2 - 2 cos(prediction of one view, target of the other)``, 0 to 8 in all. The
    negative term is ours, as the paper leaves it open, a triplet's: ``max(0, cos(prediction of the
    warped first view, target of the second) - cos(prediction of the first view, target of the
    second) + margin)``. Both cosines have the same target and differ in the warp alone, so that
    only what tells a warped face from a plain one makes the term smaller: there is no reward for
    moving both away, as with a bound on the first cosine, nor for forgetting what a view shares
    with itself, as with the first view's target. It ends where the margin is kept.

    Args:
        predictions: (N, D) for each of the two views.
        targets: (N, D) for each of the two views; get no gradient.
        warped: (N, D), prediction of the first view after ``RandomLocalWarp``.
        margin: By how much the warped view's cosine shall be below the plain view's, 0 to 2.

    Returns:
        tuple: The positive and the negative term, scalars.

    >>> one, other = torch.tensor([[1., 0.]]), torch.tensor([[0., 1.]])
    >>> contrawarping_loss((one, one), (one, one), other, 0.5)  # nothing left to do
    (tensor(0.), tensor(0.))
    >>> contrawarping_loss((one, one), (one, one), one, 0.5)  # warped and plain are alike
    (tensor(0.), tensor(0.5000))
    """

    def cosine(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # float: half precision has too few digits near 1
        return F.cosine_similarity(prediction.float(), target.detach().float(), dim=-1)

    (first, second), (target_first, target_second) = predictions, targets
    agreement = cosine(first, target_second)
    positive = 4 - 2 * (agreement + cosine(second, target_first))
    negative = (cosine(warped, target_second) - agreement + margin).clamp(min=0)
    return positive.mean(), negative.mean()


@MODELS.register_module()
class ContraWarpingLoss(nn.Module):
    """:func:`contrawarping_loss` with a weight; its terms are logged one by one.

    Args:
        negative_weight (float): Of the negative term; 0 is BYOL. The positive term's gradient has
            twice the size for each of two views. Defaults to 4.0.
        margin (float): By how much the warped view's cosine shall be below the plain view's, 0 to
            2. Defaults to 0.2.

    Raises:
        ValueError: For arguments out of range.
    """

    def __init__(self, negative_weight: float = 4.0, margin: float = 0.2) -> None:
        super().__init__()
        if negative_weight < 0:
            raise ValueError(
                f'ContraWarpingLoss: got negative_weight={negative_weight}, expected 0 or more; '
                'set model.head.loss.negative_weight'
            )
        if not 0 <= margin <= 2:
            raise ValueError(
                f'ContraWarpingLoss: got margin={margin}, expected a difference of cosines, 0 to '
                '2; set model.head.loss.margin'
            )
        self.negative_weight = negative_weight
        self.margin = margin

    def forward(
        self,
        predictions: tuple[torch.Tensor, torch.Tensor],
        targets: tuple[torch.Tensor, torch.Tensor],
        warped: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """``loss_positive`` and ``loss_negative``, whose sum is trained; see the function."""
        positive, negative = contrawarping_loss(predictions, targets, warped, self.margin)
        return dict(loss_positive=positive, loss_negative=self.negative_weight * negative)
