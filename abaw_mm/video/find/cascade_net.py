"""The three networks of MTCNN, with the parameter names of facenet-pytorch's weights."""

import torch
from torch import nn


class CascadeNet(nn.Module):
    """One network of the cascade: a trunk of layers, then several heads on its output.

    Source: Zhang et al., *Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
    Networks*, 2016, Fig. 2.

    Args:
        trunk (dict[str, nn.Module]): Layers by name, in the order of their use.
        heads (dict[str, nn.Module]): Layers by name. The first gives two logits, of which the
            second is that of a face.
    """

    def __init__(self, trunk: dict[str, nn.Module], heads: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in (trunk | heads).items():
            self.add_module(name, layer)
        self._trunk, self._heads = list(trunk), list(heads)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Score pictures and locate the faces in them.

        Args:
            images (Tensor): (N, 3, S, S) RGB, scaled to -1 to 1. The proposal network also takes
                pictures of other sizes and gives maps.

        Returns:
            list[Tensor]: (N,) probability of a face; (N, 4) left, top, right and bottom of its box,
            as offsets from those of the picture in units of its size; from the output network
            (N, 10) five x, then five y of the points, in units of the size from the left top. Maps
            (N, H, W) and (N, 4, H, W) from the proposal network.
        """
        for name in self._trunk:
            images = self.get_submodule(name)(images)
        logits, *outputs = (self.get_submodule(name)(images) for name in self._heads)
        return [logits.softmax(dim=1)[:, 1], *outputs]


class _Flatten(nn.Module):
    """Flatten (N, C, H, W) in the order W, H, C, that of the dense layers' weights."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 3, 2, 1).flatten(1)


def build_proposal_net() -> CascadeNet:
    """Build P-Net, which scores every window of 12x12 pixels at stride 2."""
    return CascadeNet(
        dict(
            conv1=nn.Conv2d(3, 10, 3),
            prelu1=nn.PReLU(10),
            pool1=nn.MaxPool2d(2, ceil_mode=True),
            conv2=nn.Conv2d(10, 16, 3),
            prelu2=nn.PReLU(16),
            conv3=nn.Conv2d(16, 32, 3),
            prelu3=nn.PReLU(32),
        ),
        dict(conv4_1=nn.Conv2d(32, 2, 1), conv4_2=nn.Conv2d(32, 4, 1)),
    )


def build_refine_net() -> CascadeNet:
    """Build R-Net, which scores candidates of 24x24 pixels."""
    return CascadeNet(
        dict(
            conv1=nn.Conv2d(3, 28, 3),
            prelu1=nn.PReLU(28),
            pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
            conv2=nn.Conv2d(28, 48, 3),
            prelu2=nn.PReLU(48),
            pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
            conv3=nn.Conv2d(48, 64, 2),
            prelu3=nn.PReLU(64),
            flatten=_Flatten(),
            dense4=nn.Linear(576, 128),
            prelu4=nn.PReLU(128),
        ),
        dict(dense5_1=nn.Linear(128, 2), dense5_2=nn.Linear(128, 4)),
    )


def build_output_net() -> CascadeNet:
    """Build O-Net, which scores candidates of 48x48 pixels and also gives five points."""
    return CascadeNet(
        dict(
            conv1=nn.Conv2d(3, 32, 3),
            prelu1=nn.PReLU(32),
            pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
            conv2=nn.Conv2d(32, 64, 3),
            prelu2=nn.PReLU(64),
            pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
            conv3=nn.Conv2d(64, 64, 3),
            prelu3=nn.PReLU(64),
            pool3=nn.MaxPool2d(2, ceil_mode=True),
            conv4=nn.Conv2d(64, 128, 2),
            prelu4=nn.PReLU(128),
            flatten=_Flatten(),
            dense5=nn.Linear(1152, 256),
            prelu5=nn.PReLU(256),
        ),
        dict(dense6_1=nn.Linear(256, 2), dense6_2=nn.Linear(256, 4), dense6_3=nn.Linear(256, 10)),
    )
