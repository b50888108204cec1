"""IR-50, the face recognition backbone of Table 5, with its deeper and SE variants."""

from collections.abc import Sequence

import torch
from mmcv.cnn import build_norm_layer
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from abaw_mm.checks import between, check_arguments, one_of
from abaw_mm.errors import InvalidValueError

CHANNELS = (64, 128, 256, 512)  # of the four stages; the input layer has 64, too
SE_REDUCTION = 16  # Hu et al. 2018, Sec. 4, and ArcFace
# Units per stage, as in face.evoLVe. Depth 152 uses the numbers of ResNet-152, although a unit has
# two convolutions instead of three.
UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}


class _SqueezeExcitation(nn.Module):
    """Scale channels by weights computed from their means: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SE_REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SE_REDUCTION, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class _Unit(nn.Module):
    """BN-conv-PReLU-conv-BN with a shortcut; the second convolution has the stride.

    The shortcut is subsampling if the number of channels stays the same, otherwise a 1x1
    convolution with BN.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, se: bool, norm_cfg: dict
    ) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if in_channels == channels:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False),
                build_norm_layer(norm_cfg, channels)[1],
            )
        self.res_layer = nn.Sequential(
            build_norm_layer(norm_cfg, in_channels)[1],
            nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            build_norm_layer(norm_cfg, channels)[1],
        )
        if se:
            self.res_layer.append(_SqueezeExcitation(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


@MODELS.register_module()
class IResNet(BaseBackbone):
    """Improved ResNet for face recognition: (N, 3, 112, 112) -> (N, 512, 7, 7).

    IR-50 of ArcFace (Deng et al. 2019) as implemented in face.evoLVe, the first row of Table 5. The
    input layer is not followed by pooling, so 112x112 pixels, the size of Aff-Wild2's crops and of
    face recognition, give the 7x7 cells that a ResNet makes of 224x224. The first unit of each
    stage halves the map.

    Parameters are named ``input_layer.*`` and ``body.<stage>.<unit>.*``, counted from 0, as in the
    released APViT. ``SSLPretrained`` also recognises the names of face.evoLVe, which numbers units
    through all stages. The `iresnet` of insightface is a slightly different network.

    Args:
        depth (int): 50, 100 or 152. Defaults to 50.
        se (bool): Whether each unit ends with squeeze-and-excitation (IR-SE). Defaults to False.
        in_channels (int): Channels of the image. Defaults to 3.
        num_stages (int): Number of stages, 1 to 4. Defaults to 4.
        out_indices (Sequence[int]): Stages whose maps are returned, from 0. Defaults to (3, ).
        frozen_stages (int): Number of frozen stages, -1 to ``num_stages``; their parameters and BN
            statistics do not change. 0 freezes only the input layer, -1 nothing. Defaults to -1.
        norm_eval (bool): Whether all BN layers keep their statistics in training. Defaults to
            False.
        norm_cfg (dict): Config of the norm layer. Defaults to ``dict(type='BN')``.
        init_cfg (dict | list, optional): Initialization, as in mmengine's ``BaseModule``. Defaults
            to Kaiming for convolutions.

    Raises:
        ValueError: If ``depth``, ``num_stages``, ``out_indices`` or ``frozen_stages`` is out of
            range.

    Example:
        >>> backbone = IResNet(depth=50, frozen_stages=3).eval()
        >>> backbone(torch.zeros(1, 3, 112, 112))[0].shape
        torch.Size([1, 512, 7, 7])
    """

    @check_arguments(
        'model.backbone',
        depth=one_of(*UNITS),
        in_channels=between(1, 1024),
        num_stages=between(1, len(CHANNELS)),
        frozen_stages=between(-1, len(CHANNELS)),
    )
    def __init__(
        self,
        depth: int = 50,
        se: bool = False,
        in_channels: int = 3,
        num_stages: int = 4,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            init_cfg
            or [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            ]
        )
        out_indices = tuple(out_indices)
        _check_stages(num_stages, out_indices, frozen_stages)
        self.depth, self.num_stages = depth, num_stages
        self.out_indices = out_indices
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        norm_cfg = norm_cfg or dict(type='BN')

        width = CHANNELS[0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, 1, 1, bias=False),
            build_norm_layer(norm_cfg, width)[1],
            nn.PReLU(width),
        )
        self.body = nn.ModuleList()
        for channels, units in zip(CHANNELS, UNITS[depth][:num_stages], strict=False):
            self.body.append(
                nn.Sequential(
                    *(
                        _Unit(channels if unit else width, channels, 1 if unit else 2, se, norm_cfg)
                        for unit in range(units)
                    )
                )
            )
            width = channels
        self._freeze_stages()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the maps of the stages in ``out_indices``.

        Args:
            x (Tensor): (N, in_channels, H, W), RGB.

        Returns:
            tuple[Tensor]: (N, 64 * 2**i, H / 2**(i+1), W / 2**(i+1)) for stage i, from 0.
        """
        maps = []
        x = self.input_layer(x)
        for index, stage in enumerate(self.body):
            x = stage(x)
            if index in self.out_indices:
                maps.append(x)
        return tuple(maps)

    def train(self, mode: bool = True) -> 'IResNet':
        """Set the mode; frozen stages and, with ``norm_eval``, all BN layers stay in evaluation."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze_stages(self) -> None:
        if self.frozen_stages >= 0:
            for module in (self.input_layer, *self.body[: self.frozen_stages]):
                module.eval()
                module.requires_grad_(False)


def _check_stages(num_stages: int, out_indices: tuple[int, ...], frozen_stages: int) -> None:
    if not out_indices or not set(out_indices) <= set(range(num_stages)):
        raise InvalidValueError(
            f'IResNet: got out_indices={out_indices}, expected stages from 0 to {num_stages - 1}; '
            'set model.backbone.out_indices'
        )
    if frozen_stages > num_stages:
        raise InvalidValueError(
            f'IResNet: got frozen_stages={frozen_stages}, expected -1 (none) to {num_stages}; set '
            'model.backbone.frozen_stages'
        )
