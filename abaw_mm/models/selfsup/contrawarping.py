"""ContraWarping: BYOL with a locally warped face as negative."""

import torch
from mmpretrain.models import BYOL
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checks import between, check_arguments


@MODELS.register_module()
class ContraWarping(BYOL):
    """Learn expressions from unlabelled faces (arXiv 2303.09034; Sec. 3.1, Fig. 3).

    Two global transformations of a face (the pipeline's ``MultiView``) are pulled together as in
    BYOL. The first of them, after ``RandomLocalWarp``, is the negative: it has the same identity,
    pose and light, but another expression. Its prediction by the online network is pushed away from
    the target network's feature of the second view.

    Warped faces pass through the online network in a forward pass of their own; docs/pretraining.md
    explains why.

    Args:
        backbone (dict): Config of the backbone.
        neck (dict): Config of the projector.
        head (dict): Config of a ``LatentPredictHead`` with a predictor and ``ContraWarpingLoss``.
        warp (dict): Config of ``RandomLocalWarp``.
        base_momentum (float): Initial update rate of the target network; decays to 0 along a
            cosine. Defaults to 0.004, as in BYOL.
        pretrained (str, optional): As in mmpretrain's ``BYOL``.
        data_preprocessor (dict, optional): As in mmpretrain's ``BYOL``.
        init_cfg (dict, optional): As in mmpretrain's ``BYOL``.
    """

    @check_arguments('model', base_momentum=between(0, 1))
    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        warp: dict,
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
        self.warp = MODELS.build(warp)

    def loss(
        self, inputs: list[torch.Tensor], data_samples: list, **kwargs: object
    ) -> dict[str, torch.Tensor]:
        """Compute both terms of the loss.

        Args:
            inputs (list[Tensor]): Two views of each face, (N, C, H, W) each.
            data_samples (list): Not used.

        Returns:
            dict: ``loss_positive`` and ``loss_negative``.
        """
        view_1, view_2 = inputs
        predictions = self.predict_latent(view_1), self.predict_latent(view_2)
        warped = self.predict_latent(self.warp(view_1))
        with torch.no_grad():
            self.target_net.update_parameters(nn.Sequential(self.backbone, self.neck))
            targets = self.target_net(view_1)[0], self.target_net(view_2)[0]
        return self.head.loss_module(predictions, targets, warped)

    def predict_latent(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the predictions (N, D) of the online network for a batch."""
        return self.head.predictor(self.neck(self.backbone(images)))[0]
