"""Head of the multi-task track: valence and arousal, expressions and action units."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from abaw_mm.checks import at_least, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.heads.track_head import gather_target, mask_loss, set_samples
from abaw_mm.structures.tasks import ACTION_UNIT, EXPRESSION, EXPRESSIONS, VALENCE_AROUSAL

TARGETS = dict(va=VALENCE_AROUSAL, expr=EXPRESSION, au=ACTION_UNIT)
# Kendall et al. 2018, Eq. 7 and 10: half the loss of a regression, the whole of a classification.
FACTORS = dict(va=0.5, expr=1.0, au=1.0)


@MODELS.register_module()
class MultiTrackHead(BaseModule):
    """Three heads on one neck, each with a loss over the frames annotated for it.

    mmpretrain's ``MultiTaskHead`` has no mask for frames that lack a part, and other data samples.

    A batch without an annotated frame of a part adds nothing: the part's loss is 0, and so are its
    gradients.

    Args:
        in_channels (int): Number of features per frame, set in each part.
        va (dict): Arguments of :class:`ValenceArousalHead`.
        expr (dict): A classification head of mmpretrain with a ``loss``. Defaults to
            ``LinearClsHead`` with 8 classes and the cross entropy.
        au (dict): Arguments of :class:`ActionUnitHead`.
        weights (dict | str): Weight of the loss of each part, ``va``, ``expr`` and ``au``, 1 by
            default; or ``'uncertainty'``, which learns them: ``f * exp(-s) * loss + s / 2`` with a
            learned logarithm s of the variance, initially 0, and f 1/2 for ``va``, else 1 (Kendall
            et al. 2018, arXiv 1705.07115). Defaults to all 1.
        init_cfg (dict, optional): Initialisation; each part has its own.

    Raises:
        ValueError: If a weight is negative or its part is unknown, or ``expr`` has no loss.
    """

    task = 'mtl'

    @check_arguments('model.head', in_channels=at_least(1))
    def __init__(
        self,
        in_channels: int,
        va: dict | None = None,
        expr: dict | None = None,
        au: dict | None = None,
        weights: dict | str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        _check_weights(weights)
        classes = dict(
            type='LinearClsHead',
            num_classes=len(EXPRESSIONS),
            loss=dict(type='CrossEntropyLoss'),
        )
        self.in_channels = in_channels
        parts = ((va, 'ValenceArousalHead'), (expr, None), (au, 'ActionUnitHead'))
        self.va, self.expr, self.au = (
            MODELS.build(
                (classes if kind is None else dict(type=kind))
                | dict(part or {}, in_channels=in_channels)
            )
            for part, kind in parts
        )
        if not hasattr(self.expr, 'loss_module'):
            raise InvalidValueError(
                f'MultiTrackHead: got {type(self.expr).__name__} as expr, expected a head with a '
                "loss, such as dict(type='LinearClsHead', num_classes=8); set model.head.expr"
            )
        self.weights = weights
        if weights == 'uncertainty':
            self.log_variance = nn.Parameter(torch.zeros(len(TARGETS)))

    @property
    def num_classes(self) -> int:
        """Number of expressions."""
        return self.expr.num_classes

    @property
    def loss_module(self) -> nn.Module:
        """Loss of the expressions."""
        return self.expr.loss_module

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the features of the last stage, (N, C)."""
        return feats[-1]

    def forward(self, feats: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Compute the outputs of valence-arousal, expressions and action units."""
        return self.va(feats), self.expr(feats), self.au(feats)

    def loss(self, feats: Sequence[torch.Tensor], data_samples: list) -> dict:
        """Compute the weighted loss of each part.

        Args:
            feats (tuple[Tensor]): Features, the last of which (N, C) is used.
            data_samples (list): One ``FrameBatch``, or N data samples.

        Returns:
            dict: ``loss_va``, ``loss_expr`` and ``loss_au``.

        Raises:
            ValueError: If the samples lack the annotation of a part.
        """
        losses = {}
        for index, (name, score) in enumerate(zip(TARGETS, self(feats), strict=True)):
            target = gather_target(data_samples, TARGETS[name], type(self).__name__)
            if name == 'expr':
                loss, known = mask_loss(self._classify, score, target, EXPRESSION)
            else:
                loss, known = getattr(self, name).compute_loss(score, target)
            losses[f'loss_{name}'] = self._weigh(index, name, loss, known)
        return losses

    def predict_columns(self, feats: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``pred_va`` (N, 2), ``pred_score`` (N, 8) and ``pred_au`` (N, 12)."""
        score = self.expr(feats).float().softmax(dim=1)
        return dict(
            self.va.predict_columns(feats), pred_score=score, **self.au.predict_columns(feats)
        )

    def predict(
        self, feats: Sequence[torch.Tensor], data_samples: list | None = None
    ) -> list[DataSample]:
        """Set the predictions of mmpretrain's data samples; see :class:`TrackHead`."""
        return set_samples(self.predict_columns(feats), data_samples)

    def _classify(self, score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.loss_module(score, target.long(), avg_factor=len(score))

    def _weigh(self, index: int, name: str, loss: torch.Tensor, known: bool) -> torch.Tensor:
        if self.weights != 'uncertainty':
            weights: Any = self.weights or {}
            return weights.get(name, 1.0) * loss
        log_variance = self.log_variance[index]
        if not known:
            return loss + 0.0 * log_variance
        return FACTORS[name] * torch.exp(-log_variance) * loss + log_variance / 2


def _check_weights(weights: Any) -> None:
    if weights is None or weights == 'uncertainty':
        return
    good = isinstance(weights, Mapping) and all(
        name in TARGETS
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 <= value < float('inf')
        for name, value in weights.items()
    )
    if not good:
        raise InvalidValueError(
            f"MultiTrackHead: got weights={weights!r}, expected 'uncertainty' or a dict of "
            f'{", ".join(TARGETS)} to numbers of at least 0; set model.head.weights'
        )
