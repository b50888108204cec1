"""Fill a backbone from a self-supervised checkpoint, wholly or not at all."""

import logging

from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.checkpoints.match import (
    ask_complete,
    flatten,
    match,
)


@WEIGHT_INITIALIZERS.register_module()
class SSLPretrained:
    """Weights of a backbone from a self-supervised checkpoint: ``init_cfg=dict(type=...)``.

    Whose checkpoint it is, is seen by its keys (``docs/checkpoints.md`` lists them). A backbone
    that is not found whole is an error, so that nothing trains from random weights by a mistyped
    prefix. A table in the log says what was found, and what of the file was left out (projector,
    predictor, queue). The file is read as data, never as code (see ``abaw_mm.compat``).

    Args:
        checkpoint (str): Path or URL, .pth or .safetensors.
        allow_partial (bool): Fill what is found, and leave the rest at random. Defaults to False.
        prefix (str, optional): Take this encoder of several, such as ``'encoder_k'``. Defaults to
            the documented one.

    Raises:
        ValueError: If a tensor of the backbone is missing or has another shape, or the file's
            network is deeper.
        UnsafeCheckpointError: If reading the file would run code.
    """

    def __init__(
        self, checkpoint: str, allow_partial: bool = False, prefix: str | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.allow_partial = allow_partial
        self.prefix = prefix

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``, a backbone."""
        init_cfg = getattr(module, 'init_cfg', None)
        if isinstance(init_cfg, (list, tuple)) and 'checkpoint' not in init_cfg[-1]:
            raise ValueError(
                f'SSLPretrained: got init_cfg with {init_cfg[-1].get("type")} after it, which '
                'would overwrite the weights; put SSLPretrained at the end of the list'
            )
        found = flatten(load_checkpoint_file(self.checkpoint, map_location='cpu'))
        report = match(module.state_dict(), found, self.prefix)
        what = f'SSLPretrained: {self.checkpoint} -> {type(module).__name__}'
        ask_complete(report, what, found, self.allow_partial)
        print_log(
            f'{what}\n{report.table()}',
            logger='current',
            level=logging.INFO if report.complete else logging.WARNING,
        )
        module.load_state_dict(
            {name: found[key] for name, key in report.sources.items()}, strict=False
        )
        _keep(module, self.checkpoint)


def _keep(module: nn.Module, checkpoint: str) -> None:
    """Let nothing that mmengine and mmpretrain initialise afterwards undo what was loaded.

    After any initialiser that is not called 'Pretrained', mmengine initialises the children, and
    mmpretrain's backbones zero the last norm of each block or draw position embeddings anew.
    """
    if not hasattr(module, 'init_cfg'):
        return
    module.init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    for child in module.modules():
        if child is not module and hasattr(child, 'init_weights'):
            child.is_init = True
