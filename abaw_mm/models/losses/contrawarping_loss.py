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
    negative term is ours, as the paper leaves it open: ``max(0, cos(prediction of the warped first
    view, target of the first view) - margin)``. It ends where the two are far enough apart, so
    that there is no reward for pushing without end.

    Args:
        predictions: (N, D) for each of the two views.
        targets: (N, D) for each of the two views; get no gradient.
        warped: (N, D), prediction of the first view after ``RandomLocalWarp``.
        margin: Cosine from which on the warped picture is far enough, -1 to 1.

    Returns:
        tuple: The positive and the negative term, scalars.

    >>> one, other = torch.tensor([[1., 0.]]), torch.tensor([[0., 1.]])
    >>> contrawarping_loss((one, one), (one, one), other, 0.5)  # nothing left to do
    (tensor(0.), tensor(0.))
    >>> contrawarping_loss((one, one), (one, other), one, 0.5)
    (tensor(2.), tensor(0.5000))
    """
    def cosine(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # float: half precision has too few digits near 1
        return F.cosine_similarity(prediction.float(), target.detach().float(), dim=-1)

    (first, second), (target_first, target_second) = predictions, targets
    positive = 4 - 2 * (cosine(first, target_second) + cosine(second, target_first))
    negative = (cosine(warped, target_first) - margin).clamp(min=0)
    return positive.mean(), negative.mean()


@MODELS.register_module()
class ContraWarpingLoss(nn.Module):
    """:func:`contrawarping_loss` with a weight; its terms are logged one by one.

    Args:
        negative_weight (float): Of the negative term; 0 is BYOL. The positive term's gradient has
            twice the size for each of two views, so up to 4 pulling outweighs pushing where both
            ask for the same direction. Defaults to 1.0.
        margin (float): Cosine, -1 to 1, from which on a warped face is far enough. Defaults to 0.5.

    Raises:
        ValueError: For arguments out of range.
    """

    def __init__(self, negative_weight: float = 1.0, margin: float = 0.5) -> None:
        super().__init__()
        if negative_weight < 0:
            raise ValueError(
                f'ContraWarpingLoss: got negative_weight={negative_weight}, expected 0 or more; '
                'set model.head.loss.negative_weight'
            )
        if not -1 <= margin <= 1:
            raise ValueError(
                f'ContraWarpingLoss: got margin={margin}, expected a cosine, -1 to 1; set '
                'model.head.loss.margin'
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
