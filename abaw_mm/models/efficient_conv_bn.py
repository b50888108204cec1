"""Apply a config's ``efficient_conv_bn_eval`` in training, testing and feature extraction."""

import logging

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from torch import nn


def enable_efficient_conv_bn_eval(model: nn.Module, cfg: Config) -> None:
    """Fuse convolutions with the BatchNorm layers behind them wherever those are in evaluation.

    These are the frozen stages in training and all of the module in evaluation. mmengine's
    ``efficient_conv_bn_eval`` (arXiv 2305.11624) multiplies the weights in each forward pass, so
    parameters, gradients and checkpoints stay what they are. mmengine's Runner reads the key in
    ``train()`` only; scores without it would be equal, but slower to get.

    Args:
        model (nn.Module): Model of the config, with or without a DDP wrapper.
        cfg (Config): With ``efficient_conv_bn_eval``, a list of names of submodules, or without.
            Modules that torch.fx cannot trace, such as :class:`APViT`, are removed from the list
            with a warning, so that the Runner does not try them either.
    """
    names = cfg.get('efficient_conv_bn_eval') or []
    inner = model.module if is_model_wrapper(model) else model
    enabled = []
    for name in [names] if isinstance(names, str) else names:
        try:
            turn_on_efficient_conv_bn_eval(inner, name)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            # What torch.fx, or a forward that gets its symbols instead of tensors, may raise.
            print_log(
                f'efficient_conv_bn_eval: {name!r} cannot be traced and runs as it is, with the '
                f'same results; set efficient_conv_bn_eval=None ({type(error).__name__}: {error})',
                logger='current',
                level=logging.WARNING,
            )
        else:
            enabled.append(name)
    if names:
        cfg.efficient_conv_bn_eval = enabled or None
