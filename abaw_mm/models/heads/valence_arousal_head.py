"""Head that predicts valence and arousal."""

import torch
from mmpretrain.registry import MODELS
from torch.nn import functional

from abaw_mm.checks import at_least, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.heads.track_head import TrackHead
from abaw_mm.structures.tasks import VALENCE_AROUSAL

EPS = 1e-8  # keeps the CCC of a constant batch, 0/0, finite


def concordance_loss(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute 1 minus the mean concordance correlation coefficient of the columns.

    Moments are those of the population, as in the challenge's score. A batch without variance,
    such as a single frame, has a coefficient of 0.

    Args:
        pred (Tensor): (N, K) predictions.
        target (Tensor): (N, K) annotations.

    >>> concordance_loss(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [0.5]])).item()
    0.3333333...
    """
    x, y = pred - pred.mean(dim=0), target - target.mean(dim=0)
    spread = (x**2).mean(dim=0) + (y**2).mean(dim=0) + (pred.mean(dim=0) - target.mean(dim=0)) ** 2
    return 1 - (2 * (x * y).mean(dim=0) / (spread + EPS)).mean()


@MODELS.register_module()
class ValenceArousalHead(TrackHead):
    """Predict valence and arousal, each in -1 to 1, by the tanh of a linear layer.

    The loss is ``ccc_weight`` times :func:`concordance_loss` over the annotated frames of the
    batch of each process, plus ``mse_weight`` times their mean squared error.

    Args:
        in_channels (int): Number of features per frame.
        ccc_weight (float): Weight of the concordance loss. Defaults to 1.
        mse_weight (float): Weight of the mean squared error. Defaults to 0.
        init_cfg (dict, optional): See :class:`TrackHead`.

    Raises:
        ValueError: If both weights are 0.
    """

    task = 'va'
    target = VALENCE_AROUSAL

    @check_arguments(
        'model.head', in_channels=at_least(1), ccc_weight=at_least(0), mse_weight=at_least(0)
    )
    def __init__(
        self,
        in_channels: int,
        ccc_weight: float = 1.0,
        mse_weight: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(in_channels, init_cfg)
        if not ccc_weight and not mse_weight:
            raise InvalidValueError(
                'ValenceArousalHead: got ccc_weight=0 and mse_weight=0, expected one above 0; set '
                'model.head.ccc_weight'
            )
        self.ccc_weight = ccc_weight
        self.mse_weight = mse_weight

    def _compute_loss(self, score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        pred = score.tanh()
        loss = score.new_zeros(())
        if self.ccc_weight:
            loss = loss + self.ccc_weight * concordance_loss(pred, target)
        if self.mse_weight:
            loss = loss + self.mse_weight * functional.mse_loss(pred, target)
        return loss

    def _activate(self, score: torch.Tensor) -> torch.Tensor:
        return score.tanh()
