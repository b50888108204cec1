"""ContraWarping: BYOL with a locally warped face as negative."""

from collections.abc import Sequence

import torch
from mmpretrain.models import BYOL
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import between, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.losses.contrawarping_loss import cosine


@MODELS.register_module()
class ContraWarping(BYOL):
    """Learn expressions from unlabelled faces (arXiv 2303.09034; Sec. 3.1, Fig. 3).

    Two global transformations of a face are pulled together as in BYOL. The first of them, warped
    locally, is the negative: it has the same identity, pose and light, but another expression. The
    online network's predictions of the first view and of the warped one are pushed apart.
    ``FaceViewDataPreprocessor`` makes the three views.

    Args:
        backbone (dict): Config of the backbone.
        neck (dict): Config of the projector.
        head (dict): Config of a ``LatentPredictHead`` with a predictor and ``ContraWarpingLoss``.
        symmetric (bool): Whether the second view also predicts the target of the first one, as in
            BYOL. Otherwise two batches instead of three pass through the online network, and one
            instead of two through the target network. Defaults to False.
        shared_bn (bool): Whether the views pass through the online network in one batch. They then
            share their batch statistics, and nothing that all warped faces have in common is
            normalised away. Defaults to True.
        base_momentum (float): Initial update rate of the target network; decays to 0 along a
            cosine. Defaults to 0.004, as in BYOL.
        pretrained (str, optional): As in mmpretrain's ``BYOL``.
        data_preprocessor (dict, optional): A ``FaceViewDataPreprocessor`` with a ``warp``.
        init_cfg (dict, optional): As in mmpretrain's ``BYOL``.
    """

    @check_arguments('model', base_momentum=between(0, 1))
    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        symmetric: bool = False,
        shared_bn: bool = True,
        base_momentum: float = 0.004,
        pretrained: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            base_momentum=base_momentum,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.symmetric = symmetric
        self.shared_bn = shared_bn

    def loss(
        self, inputs: list[torch.Tensor], data_samples: list, **kwargs: object
    ) -> dict[str, torch.Tensor]:
        """Compute both terms of the loss.

        Args:
            inputs (list[Tensor]): Two views of each face and the warped first view, (N, C, H, W)
                each.
            data_samples (list): Not used.

        Returns:
            dict: ``loss_positive`` and ``loss_negative``.

        Raises:
            ValueError: If there is no warped view.
        """
        view_1, view_2, warped = _check_views(inputs)
        plain = (view_1, view_2) if self.symmetric else (view_1,)
        *predictions, warped_prediction = self.predict_latents([*plain, warped])
        with torch.no_grad():
            self.target_net.update_parameters(nn.Sequential(self.backbone, self.neck))
            others = (view_2, view_1)[: len(plain)]
            targets = [self.target_net(view)[0] for view in others]
        agreements = [cosine(*pair) for pair in zip(predictions, targets, strict=True)]
        return self.head.loss_module(agreements, cosine(predictions[0], warped_prediction))

    def predict_latents(self, views: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Compute the predictions (N, D) of the online network for each view."""
        batches = [torch.cat(list(views))] if self.shared_bn else views
        latents = [self.head.predictor(self.neck(self.backbone(batch)))[0] for batch in batches]
        return torch.cat(latents).chunk(len(views))


def _check_views(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    if len(inputs) != 3:
        raise InvalidValueError(
            f'ContraWarping: got {len(inputs)} views, expected two and a warped one; set '
            "data_preprocessor.warp=dict(type='RandomMuscleWarp')"
        )
    return inputs
