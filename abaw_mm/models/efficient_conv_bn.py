"""Apply a config's ``efficient_conv_bn_eval`` in training, testing and feature extraction."""

import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from torch import nn


def enable_efficient_conv_bn_eval(model: nn.Module, cfg: Config) -> None:
    """Fuse BatchNorm layers in evaluation mode into the preceding convolutions.

    This concerns frozen stages in training, and the whole module in evaluation. mmengine's
    ``efficient_conv_bn_eval`` (arXiv 2305.11624) fuses the weights in each forward pass, so
    parameters, gradients and checkpoints do not change. mmengine's Runner reads the key only in
    ``train()``; this function also serves testing.

    Args:
        model (nn.Module): Model of the config, with or without a DDP wrapper.
        cfg (Config): Config. Its key ``efficient_conv_bn_eval`` is a list of names of submodules,
            or absent. Modules that torch.fx cannot trace, such as :class:`APViT`, are removed from
            the list with a warning, so that the Runner does not try them.
    """
    names: str | Sequence[str] = cfg.get('efficient_conv_bn_eval') or []
    inner = model.module if is_model_wrapper(model) else model
    enabled = []
    for name in [names] if isinstance(names, str) else names:
        try:
            turn_on_efficient_conv_bn_eval(inner, name)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            # Errors of torch.fx, or of a forward pass that receives its symbols instead of tensors.
            print_log(
                f'efficient_conv_bn_eval: {name!r} cannot be traced and runs without fusion, with '
                'the same results; set efficient_conv_bn_eval=None '
                f'({type(error).__name__}: {error})',
                logger='current',
                level=logging.WARNING,
            )
        else:
            enabled.append(name)
    if names:
        cfg.efficient_conv_bn_eval = enabled or None
