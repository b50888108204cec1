"""Fill a backbone from a self-supervised checkpoint, wholly or not at all."""

import logging
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from ...compat import load_checkpoint_file

NESTS = ('state_dict', 'model', 'teacher')  # keys under which frameworks put the tensors
# Words of the encoder that follows another one by a moving average; the other one is taken.
FOLLOWERS = ('encoder_k', 'target', 'momentum', 'teacher', 'ema')
MAX_NAMED = 5


def find_state_dict(checkpoint: Mapping) -> Mapping[str, torch.Tensor]:
    """The tensors of a checkpoint, which frameworks nest under different keys."""
    for key in NESTS:
        if isinstance(checkpoint.get(key), Mapping):
            return find_state_dict(checkpoint[key])
    return {key: value for key, value in checkpoint.items() if isinstance(value, torch.Tensor)}


def match_prefix(
    wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]
) -> tuple[str, list[str]]:
    """The prefix under which a state dict holds most of the wanted tensors.

    ``'module.encoder_q.'`` for MoCo, ``'backbone.'`` for mmpretrain, ``''`` for torchvision. Of
    two that hold as many, an encoder that learns by gradients is taken before one that follows it.

    Args:
        wanted: State dict of the backbone.
        found: State dict of the checkpoint.

    Returns:
        tuple: The prefix, and the wanted names that it lacks or has in another shape.
    """
    # Any one tensor's name, wherever it ends a key, tells a prefix.
    anchor = next(iter(wanted))
    prefixes = [key.removesuffix(anchor) for key in found if key.endswith(anchor)] or ['']

    def lacking(prefix: str) -> list[str]:
        return [
            name for name, tensor in wanted.items()
            if prefix + name not in found or found[prefix + name].shape != tensor.shape
        ]

    def rank(prefix: str) -> tuple:
        return len(lacking(prefix)), any(word in prefix for word in FOLLOWERS), len(prefix)

    best = min(prefixes, key=rank)
    return best, lacking(best)


@WEIGHT_INITIALIZERS.register_module()
class SSLPretrained:
    """Weights of a backbone from a self-supervised checkpoint: ``init_cfg=dict(type=...)``.

    The backbone's tensors are looked for by name under any prefix, ``strict=False`` is nowhere:
    a backbone that is not found whole is an error, so that nothing trains from random weights by
    a mistyped prefix. Other tensors of the file (projector, predictor, queue) are left out and
    counted. The file is read as data, never as code (see ``abaw_mm.compat``).

    Args:
        checkpoint (str): Path or URL.

    Raises:
        ValueError: If a tensor of the backbone is missing or has another shape.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``, a backbone."""
        found = find_state_dict(load_checkpoint_file(self.checkpoint, map_location='cpu'))
        own = {
            name: tensor for name, tensor in module.state_dict().items()
            if not name.endswith('num_batches_tracked')  # old files have none, and none is needed
        }
        prefix, lacking = match_prefix(own, found)
        if lacking:
            name = lacking[0]
            got = tuple(found[prefix + name].shape) if prefix + name in found else 'nothing'
            raise ValueError(
                f'SSLPretrained: {self.checkpoint} holds {len(own) - len(lacking)} of the '
                f'{len(own)} tensors of {type(module).__name__} (prefix {prefix!r}); the first '
                f'that does not fit is {prefix + name}: got {got}, expected '
                f'{tuple(own[name].shape)}. Its keys are such as '
                f'{", ".join(list(found)[:MAX_NAMED])}. Take weights of the same network, or '
                'change model.backbone to theirs (e.g. depth)'
            )
        module.load_state_dict({name: found[prefix + name] for name in own}, strict=False)
        # mmpretrain's ResNet zeroes the last norm of each block after any initialiser that is not
        # called 'Pretrained', and would undo what was just loaded.
        if hasattr(module, 'zero_init_residual'):
            module.zero_init_residual = False
        dropped = len(found) - sum(prefix + name in found for name in module.state_dict())
        print_log(
            f'SSLPretrained: {type(module).__name__} has all its {len(own)} tensors from '
            f'{self.checkpoint} (prefix {prefix!r}; {dropped} other tensors left out)',
            logger='current', level=logging.INFO
        )
