"""ContraWarping: BYOL, and a face is no longer itself when its muscles have moved."""

import torch
from mmpretrain.models import BYOL
from mmpretrain.registry import MODELS
from torch import nn


@MODELS.register_module()
class ContraWarping(BYOL):
    """Learn expressions from faces without labels (arXiv 2303.09034; Sec. 3.1, Fig. 3).

    Two global transformations of a face (the pipeline's ``MultiView``) are pulled together as in
    BYOL. The first of them, after ``RandomLocalWarp``, is the negative: same identity, pose and
    light, other expression; what the online network predicts for it is pushed away from what the
    target network makes of the view that was not warped.

    The online network is the one that sees warped faces: gradients flow through them, and what
    sets them apart is learned. It sees them in a forward pass of their own, as BYOL does with each
    view, so that batch normalisation removes what all warped faces have in common, such as the
    smoothing by interpolation.

    Args:
        backbone (dict): The backbone.
        neck (dict): The projector.
        head (dict): ``LatentPredictHead`` with a predictor and ``ContraWarpingLoss``.
        warp (dict): ``RandomLocalWarp``.
        base_momentum (float): Share of the online network that the target takes over at the first
            steps; falls to 0 along a cosine. Defaults to 0.004, BYOL's.
        pretrained (str, optional): As mmpretrain's ``BYOL``.
        data_preprocessor (dict, optional): As mmpretrain's ``BYOL``.
        init_cfg (dict, optional): As mmpretrain's ``BYOL``.
    """

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
        """Both terms.

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
        """Online features of a batch after the predictor, (N, D)."""
        return self.head.predictor(self.neck(self.backbone(images)))[0]
