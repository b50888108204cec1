"""What models over windows of features share: checks, masks and positions."""

import torch

from abaw_mm.errors import InvalidValueError


def check_width(owner: str, x: object, in_channels: int, key: str = 'model.backbone') -> None:
    """Raise ValueError unless ``x`` is one stream of ``in_channels`` features (N, W, D).

    Args:
        owner (str): Name of the module, for the message.
        x (Tensor): The features.
        in_channels (int): Expected width, D.
        key (str): Config key of the module, for the message. Defaults to ``'model.backbone'``.
    """
    if not isinstance(x, torch.Tensor):
        raise InvalidValueError(
            f'{owner}: got several streams, expected one; set {key} to a fusion, such as '
            "dict(type='ConcatFusion', ...), and this model as model.neck"
        )
    if x.shape[-1] != in_channels:
        raise InvalidValueError(
            f'{owner}: got {x.shape[-1]} features per frame, expected {in_channels}; set '
            f'{key}.in_channels={x.shape[-1]}'
        )


def get_mask(x: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
    """Return the mask (N, W) bool of features (N, W, D), all True if there is none."""
    return x.new_ones(x.shape[:2], dtype=torch.bool) if seen is None else seen.bool()


def make_padding_mask(seen: torch.Tensor) -> torch.Tensor:
    """Make the ``key_padding_mask`` of attention, True where a frame is hidden.

    The softmax over no frame is 0 / 0, so attention returns NaN for a window in which no frame is
    seen. All frames of such a window are shown instead. Callers set hidden frames to zero, so
    such a window is one of zeros.

    Args:
        seen (Tensor): (N, W) bool.

    >>> make_padding_mask(torch.tensor([[True, False], [False, False]])).tolist()
    [[False, True], [False, False]]
    """
    return ~seen & seen.any(dim=1, keepdim=True)


def encode_positions(x: torch.Tensor) -> torch.Tensor:
    """Compute the sinusoidal position encoding of Vaswani et al. 2017 (arXiv 1706.03762).

    Args:
        x (Tensor): (N, W, C), whose device, type and size count. C must be even.

    Returns:
        Tensor: (W, C), sines in the even channels and cosines in the odd ones.
    """
    width, channels = x.shape[1:]
    rate = 10_000.0 ** (-torch.arange(0, channels, 2, device=x.device) / channels)
    angle = torch.arange(width, device=x.device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).to(x.dtype)
