"""IR-50, the face recognition backbone of Table 5, and its deeper and SE variants."""

from collections.abc import Sequence

import torch
from mmcv.cnn import build_norm_layer
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

CHANNELS = (64, 128, 256, 512)  # of the four stages; the input layer has the first stage's
SE_REDUCTION = 16  # Hu et al. 2018, Sec. 4, and ArcFace


class _SqueezeExcitation(nn.Module):
    """Weights of the channels by their means over the map: (N, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SE_REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SE_REDUCTION, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class _Unit(nn.Module):
    """BN-conv-PReLU-conv-BN with a shortcut; the second convolution has the stride.

    The shortcut only takes every ``stride``-th cell where the channels stay, and is a 1x1
    convolution with BN where they change.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, se: bool, norm_cfg: dict
    ) -> None:
        super().__init__()
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
    """The improved ResNet of face recognition: (N, 3, 112, 112) -> (N, 512, 7, 7).

    IR-50 of ArcFace (Deng et al. 2019) as face.evoLVe builds it, the first row of Table 5. No
    pooling follows the input layer, so that 112 pixels, the size of Aff-Wild2's crops and of face
    recognition, end in the 7x7 cells that a ResNet makes of 224. Each stage halves the map in its
    first unit.

    The parameters' names are ``input_layer.*`` and ``body.<stage>.<unit>.*`` as in the released
    APViT, counted from 0; face.evoLVe's, whose units are numbered through all stages, are
    recognised by ``SSLPretrained``. insightface's `iresnet` is a slightly different network.

    Args:
        depth (int): 50, 100 or 152. Defaults to 50.
        se (bool): Whether a squeeze-and-excitation ends each unit (IR-SE). Defaults to False.
        in_channels (int): Channels of the image. Defaults to 3.
        num_stages (int): Stages to build, 1 to 4. Defaults to 4.
        out_indices (Sequence[int]): Stages whose maps are given back, from 0. Defaults to (3, ).
        frozen_stages (int): 0 freezes the input layer, n stages 1 to n as well, with parameters
            and BN statistics; -1 freezes nothing. Defaults to -1.
        norm_eval (bool): Whether all BN keep their statistics in training. Defaults to False.
        norm_cfg (dict): The norm layer. Defaults to ``dict(type='BN')``.
        init_cfg (dict | list, optional): As in mmengine's ``BaseModule``. Defaults to Kaiming for
            convolutions.

    Raises:
        ValueError: For a depth, stages or a freeze number that there are not.

    Example:
        >>> backbone = IResNet(depth=50, frozen_stages=3).eval()
        >>> backbone(torch.zeros(1, 3, 112, 112))[0].shape
        torch.Size([1, 512, 7, 7])
    """

    # Units of the four stages, as face.evoLVe has them: 152 with the numbers of ResNet-152,
    # although a unit has two convolutions and not three.
    arch_settings = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}

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
        if depth not in self.arch_settings:
            raise ValueError(
                f'IResNet: depth={depth}, expected one of {", ".join(map(str, self.arch_settings))}'
                '; set model.backbone.depth'
            )
        if num_stages not in range(1, 5):
            raise ValueError(
                f'IResNet: num_stages={num_stages}, expected 1 to 4; set model.backbone.num_stages'
            )
        out_indices = tuple(out_indices)
        if not out_indices or not set(out_indices) <= set(range(num_stages)):
            raise ValueError(
                f'IResNet: out_indices={out_indices}, expected stages from 0 to {num_stages - 1}; '
                'set model.backbone.out_indices'
            )
        if frozen_stages not in range(-1, num_stages + 1):
            raise ValueError(
                f'IResNet: frozen_stages={frozen_stages}, expected -1 (none) to {num_stages}; set '
                'model.backbone.frozen_stages'
            )
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
        for channels, units in zip(CHANNELS, self.arch_settings[depth][:num_stages], strict=False):
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
        """Maps of the stages in ``out_indices``.

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
        """Set the mode; frozen stages and, with ``norm_eval``, all BN stay in evaluation."""
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
