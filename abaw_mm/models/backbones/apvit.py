"""APViT: a convolutional stem and a transformer that attends only to selected patches."""

import math
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn import functional as F

from abaw_mm.checks import at_least, between, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.backbones.iresnet import CHANNELS, IResNet

# As in the released code: eight blocks, the last four of which drop tokens.
KEEP_RATES = (1.0, 1.0, 1.0, 1.0, 0.9, 0.9, 0.9, 0.9)
NORM_EPS = 1e-6
EXTRACTOR_STAGES = 3
EXTRACTOR_STRIDE = 2**EXTRACTOR_STAGES  # side of a patch, in pixels


def spatial_attention(maps: torch.Tensor) -> torch.Tensor:
    """Sum the magnitudes over all channels of each cell.

    Args:
        maps: (N, C, H, W).

    Returns:
        Tensor: Attention (N, 1, H, W), not normalised.

    >>> spatial_attention(torch.tensor([1., -2., 3.]).view(1, 3, 1, 1)).item()
    6.0
    """
    return maps.abs().sum(1, keepdim=True)


def keep_tokens(tokens: torch.Tensor, scores: torch.Tensor, number: int) -> torch.Tensor:
    """Select the tokens with the highest scores, in their original order.

    Args:
        tokens: (N, L, C).
        scores: (N, L).
        number: Tokens to keep per sample, at most L.

    Returns:
        Tensor: (N, number, C).

    >>> keep_tokens(torch.tensor([[[1.], [2.], [3.]]]), torch.tensor([[7, 1, 9]]), 2).tolist()
    [[[1.0], [3.0]]]
    """
    kept = scores.topk(number, dim=1).indices.sort(dim=1).values
    return tokens.gather(1, kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


class _Attention(nn.Module):
    """Multi-head self-attention that also returns the scores of the class token."""

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=False)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(
        self, x: torch.Tensor, with_scores: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend to all tokens.

        Args:
            x: Class token and patches, (N, 1 + L, C).
            with_scores: Whether to compute scores.

        Returns:
            tuple: Tokens (N, 1 + L, C), and the class token's attention to the patches (N, L) or
            None.
        """
        n, length, _ = x.shape
        query, key, value = (
            self.qkv(x).reshape(n, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        )
        out = F.scaled_dot_product_attention(query, key, value)
        out = self.proj(out.transpose(1, 2).reshape(n, length, -1))
        if not with_scores:
            return out, None
        # The released code averages the logits of the heads, not their softmax. Only the order
        # matters, so the scale is omitted.
        with torch.no_grad():
            scores = (query[:, :, :1] * key[:, :, 1:]).sum(-1).mean(1)
        return out, scores


class _MLP(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    """Pre-norm transformer block that keeps only part of its patches."""

    def __init__(self, embed_dims: int, num_heads: int, mlp_ratio: float, keep_rate: float) -> None:
        super().__init__()
        self.keep_rate = keep_rate
        self.norm1 = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.attn = _Attention(embed_dims, num_heads)
        self.norm2 = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.mlp = _MLP(embed_dims, int(embed_dims * mlp_ratio))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, 1 + L, C) to (N, 1 + floor(keep_rate * L), C); the class token comes first."""
        out, scores = self.attn(self.norm1(x), with_scores=self.keep_rate < 1)
        x = x + out
        if scores is not None:  # before the MLP, which treats each token alone: same result, faster
            number = max(1, math.floor(self.keep_rate * scores.shape[1]))
            x = torch.cat([x[:, :1], keep_tokens(x[:, 1:], scores, number)], dim=1)
        return x + self.mlp(self.norm2(x))


class _PoolingTransformer(BaseModule):
    """Transformer with attentive pooling; parameters are named as in the released ``vit``."""

    def __init__(
        self,
        in_channels: int,
        num_patches: int,
        keep_patches: int,
        keep_rates: Sequence[float],
        embed_dims: int,
        num_heads: int,
        mlp_ratio: float,
        init_cfg: dict | list | None,
    ) -> None:
        super().__init__(init_cfg or dict(type='TruncNormal', layer='Linear', std=0.02))
        self.keep_patches = keep_patches

        def embedding(length: int) -> nn.Parameter:
            return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, length, embed_dims), std=0.02))

        self.cls_token = embedding(1)
        self.cls_pos_embed = embedding(1)
        self.patch_pos_embed = embedding(num_patches)
        self.projs = nn.ModuleList([nn.Conv2d(in_channels, embed_dims, 1)])
        self.blocks = nn.Sequential(
            *(_Block(embed_dims, num_heads, mlp_ratio, rate) for rate in keep_rates)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=NORM_EPS)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to the class token (N, embed_dims)."""
        patches = self.projs[0](maps)
        scores = spatial_attention(patches).flatten(1)
        tokens = patches.flatten(2).transpose(1, 2) + self.patch_pos_embed
        tokens = keep_tokens(tokens, scores, self.keep_patches)
        # Not len(tokens), which would become a constant in an exported network.
        cls = (self.cls_token + self.cls_pos_embed).expand(tokens.shape[0], -1, -1)
        x = self.blocks(torch.cat([cls, tokens], dim=1))
        return self.norm(x)[:, 0]


@MODELS.register_module()
class APViT(BaseBackbone):
    """Vision transformer with attentive pooling: (N, 3, 112, 112) -> (N, 768).

    Xue et al. 2022 (IEEE Transactions on Affective Computing), two rows of Table 5. The first three
    stages of IR-50 turn a face into 14x14 cells, and a 1x1 convolution makes one patch of each.
    Attentive patch pooling keeps the patches with the highest attention (160 of 196), so background
    and occlusions do not enter the transformer. Attentive token pooling drops the tokens that the
    class token attends to least in some of the blocks. The feature is the class token.

    Defaults and parameter names, ``extractor.*`` and ``vit.*``, are those of the released code. Its
    checkpoints load as ``checkpoint`` and as ``load_from``.

    Args:
        img_size (int): Side of the image in pixels, a multiple of 8. Defaults to 112.
        keep_patches (int): Number of patches that enter the transformer. Defaults to 160.
        keep_rates (Sequence[float]): Fraction of its patches that each block keeps, rounded down;
            one rate per block. Defaults to 1 for four blocks and 0.9 for four more.
        embed_dims (int): Width of a token. Defaults to 768.
        num_heads (int): Number of attention heads. Defaults to 8.
        mlp_ratio (float): Width of the MLP relative to that of a token. Defaults to 3.
        frozen_stages (int): Number of frozen stages, -1 to 4. 0 freezes the extractor's input
            layer, 1 to 3 also its stages, as in :class:`IResNet`, 4 also the transformer, -1
            nothing. Defaults to -1.
        norm_eval (bool): Whether all BN layers keep their statistics in training. Defaults to
            False.
        extractor_init_cfg (dict | list, optional): ``init_cfg`` of the extractor, see
            :class:`IResNet`, for weights of face recognition.
        vit_init_cfg (dict | list, optional): ``init_cfg`` of the transformer. Defaults to a
            truncated normal with standard deviation 0.02.
        init_cfg (dict, optional): ``init_cfg`` of the whole backbone.

    Raises:
        ValueError: If an argument is out of range or does not fit the others.

    Example:
        >>> backbone = APViT().eval()
        >>> image = torch.zeros(1, 3, 112, 112)
        >>> backbone(image)[0].shape, backbone.attention_map(image).shape
        (torch.Size([1, 768]), torch.Size([1, 1, 14, 14]))
    """

    @check_arguments(
        'model.backbone',
        img_size=between(EXTRACTOR_STRIDE, 2048),
        keep_rates=between(0, 1, above=True),
        embed_dims=between(1, 16_384),
        num_heads=at_least(1),
        mlp_ratio=between(0, 64, above=True),
        frozen_stages=between(-1, EXTRACTOR_STAGES + 1),
    )
    def __init__(
        self,
        img_size: int = 112,
        keep_patches: int = 160,
        keep_rates: Sequence[float] = KEEP_RATES,
        embed_dims: int = 768,
        num_heads: int = 8,
        mlp_ratio: float = 3.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        extractor_init_cfg: dict | list | None = None,
        vit_init_cfg: dict | list | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        _check_sizes(img_size, keep_patches, keep_rates, embed_dims, num_heads)
        self.img_size = img_size
        self.frozen_stages = frozen_stages
        self.extractor = IResNet(
            depth=50,
            num_stages=EXTRACTOR_STAGES,
            out_indices=(EXTRACTOR_STAGES - 1,),
            frozen_stages=min(frozen_stages, EXTRACTOR_STAGES),
            norm_eval=norm_eval,
            init_cfg=extractor_init_cfg,
        )
        self.vit = _PoolingTransformer(
            CHANNELS[EXTRACTOR_STAGES - 1],
            _count_patches(img_size),
            keep_patches,
            keep_rates,
            embed_dims,
            num_heads,
            mlp_ratio,
            vit_init_cfg,
        )
        self._freeze_transformer()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Compute the class token.

        Args:
            x (Tensor): (N, 3, img_size, img_size), RGB.

        Returns:
            tuple[Tensor]: One tensor, (N, embed_dims).
        """
        return (self.vit(self._extract(x)),)

    def attention_map(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the attention by which attentive patch pooling selects patches.

        Args:
            x (Tensor): (N, 3, img_size, img_size), RGB.

        Returns:
            Tensor: (N, 1, img_size / 8, img_size / 8), not normalised.
        """
        return spatial_attention(self.vit.projs[0](self._extract(x)))

    def train(self, mode: bool = True) -> 'APViT':
        """Set the mode; frozen parts stay in evaluation."""
        super().train(mode)
        self._freeze_transformer()
        return self

    def _extract(self, x: torch.Tensor) -> torch.Tensor:
        self._check_image_size(x)
        return self.extractor(x)[-1]

    def _check_image_size(self, x: torch.Tensor) -> None:
        if x.shape[2:] != (self.img_size, self.img_size):
            raise InvalidValueError(
                f'APViT: got images of {x.shape[2]}x{x.shape[3]} pixels, expected {self.img_size}x'
                f'{self.img_size}; set the crop size of the pipelines, or model.backbone.img_size '
                '(position embeddings of another size then no longer fit)'
            )

    def _freeze_transformer(self) -> None:
        if self.frozen_stages > EXTRACTOR_STAGES:
            self.vit.eval()
            self.vit.requires_grad_(False)


def _count_patches(img_size: int) -> int:
    return (img_size // EXTRACTOR_STRIDE) ** 2


def _check_sizes(
    img_size: int,
    keep_patches: int,
    keep_rates: Sequence[float],
    embed_dims: int,
    num_heads: int,
) -> None:
    if img_size % EXTRACTOR_STRIDE:
        raise InvalidValueError(
            f'APViT: got img_size={img_size}, expected a multiple of {EXTRACTOR_STRIDE} pixels, '
            'such as 112; set model.backbone.img_size'
        )
    if keep_patches not in range(1, _count_patches(img_size) + 1):
        raise InvalidValueError(
            f'APViT: got keep_patches={keep_patches}, expected 1 to {_count_patches(img_size)}, '
            f'the patches of {img_size}x{img_size} pixels; set model.backbone.keep_patches'
        )
    if not keep_rates:
        raise InvalidValueError(
            'APViT: got no keep_rates, expected one rate per block; set model.backbone.keep_rates'
        )
    if embed_dims % num_heads:
        raise InvalidValueError(
            f'APViT: got embed_dims={embed_dims}, expected a multiple of num_heads={num_heads}; '
            'set model.backbone.embed_dims'
        )
