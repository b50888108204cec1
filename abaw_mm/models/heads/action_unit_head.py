"""Head that predicts which action units are present."""

import torch
from mmpretrain.models import AsymmetricLoss, CrossEntropyLoss, FocalLoss
from mmpretrain.registry import MODELS

from abaw_mm.checks import at_least, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.heads.track_head import TrackHead
from abaw_mm.structures.tasks import ACTION_UNIT, ACTION_UNITS


@MODELS.register_module()
class ActionUnitHead(TrackHead):
    """Predict the probability of each action unit by the sigmoid of a linear layer.

    The loss is the mean over the annotated frames of the batch and over the units. mmpretrain's
    ``MultiLabelLinearClsHead`` has no mask for frames without annotation.

    Args:
        in_channels (int): Number of features per frame.
        loss (dict, optional): A loss of mmpretrain with one sigmoid per unit:
            ``dict(type='CrossEntropyLoss', use_sigmoid=True)``, whose ``pos_weight`` (12 numbers)
            ``ClassFrequencyHook`` can count, ``dict(type='FocalLoss')`` or
            ``dict(type='AsymmetricLoss')``. Defaults to the first.
        init_cfg (dict, optional): See :class:`TrackHead`.

    Raises:
        ValueError: If the loss is another one, or ``pos_weight`` does not have 12 numbers.
    """

    task = 'au'
    target = ACTION_UNIT

    @check_arguments('model.head', in_channels=at_least(1))
    def __init__(
        self, in_channels: int, loss: dict | None = None, init_cfg: dict | None = None
    ) -> None:
        super().__init__(in_channels, init_cfg)
        loss = dict(type='CrossEntropyLoss', use_sigmoid=True) if loss is None else loss
        self.loss_module = MODELS.build(loss)
        _check_loss(self.loss_module)

    def _compute_loss(self, score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.loss_module(score, target.float(), avg_factor=score.numel())

    def _activate(self, score: torch.Tensor) -> torch.Tensor:
        return score.sigmoid()


def _check_loss(loss: torch.nn.Module) -> None:
    sigmoid = isinstance(loss, FocalLoss) or (
        isinstance(loss, (AsymmetricLoss, CrossEntropyLoss)) and loss.use_sigmoid
    )
    if not sigmoid or loss.reduction != 'mean':
        raise InvalidValueError(
            f'ActionUnitHead: got the loss {type(loss).__name__}, expected FocalLoss, '
            'AsymmetricLoss or CrossEntropyLoss with use_sigmoid=True and the reduction mean; set '
            'model.head.loss'
        )
    weights = getattr(loss, 'pos_weight', None)
    if weights is not None and len(weights) != len(ACTION_UNITS):
        raise InvalidValueError(
            f'ActionUnitHead: got {len(weights)} numbers as pos_weight, expected '
            f'{len(ACTION_UNITS)}; set model.head.loss.pos_weight'
        )
