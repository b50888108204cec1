"""Cross entropy with logits that are adjusted by the frequencies of the classes."""

import torch
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn import functional as F

from abaw_mm.checks import above, check_arguments
from abaw_mm.errors import InvalidValueError


@MODELS.register_module()
class LogitAdjustedLoss(nn.Module):
    """Cross entropy of the logits plus tau times the logarithm of the class frequencies.

    Menon et al. 2021 (arXiv 2007.07314, Eq. 10). Training adds the offset and testing does not, so
    that the scores are those of classes that are equally frequent (tau 1). ``--tau`` of
    ``postprocess_predictions.py`` does the same after training; a predictions file records the
    offset of training, which that step then takes into account.

    ``ClassFrequencyHook`` sets the frequencies before training, those that the sampler draws.

    Args:
        tau (float): Strength, above 0. Defaults to 1.
        loss_weight (float): Weight of the loss. Defaults to 1.

    Attributes:
        prior (list[float], optional): (C,) share of each class, None before the hook sets it.

    >>> loss = LogitAdjustedLoss()
    >>> loss.prior = [0.9, 0.1]
    >>> round(loss(torch.zeros(1, 2), torch.tensor([1])).item(), 4)  # -log(0.1)
    2.3026
    """

    @check_arguments('model.head.loss', tau=above(0), loss_weight=above(0))
    def __init__(self, tau: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.tau = tau
        self.loss_weight = loss_weight
        self.prior: list[float] | None = None

    def forward(
        self, score: torch.Tensor, label: torch.Tensor, avg_factor: float | None = None
    ) -> torch.Tensor:
        """Compute the loss.

        Args:
            score (Tensor): (F, C) logits.
            label (Tensor): (F, ) int64.
            avg_factor (float, optional): Divisor of the sum. Defaults to F.

        Raises:
            ValueError: If the frequencies were not set.
        """
        if self.prior is None:
            raise InvalidValueError(
                'LogitAdjustedLoss: got no frequencies of the classes, expected those of the '
                "training set; set default_hooks.class_frequency=dict(type='ClassFrequencyHook')"
            )
        adjusted = score + self.tau * score.new_tensor(self.prior).log()
        loss = F.cross_entropy(adjusted, label, reduction='sum')
        return self.loss_weight * loss / (len(label) if avg_factor is None else avg_factor)
