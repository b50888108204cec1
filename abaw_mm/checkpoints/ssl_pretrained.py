"""Fill a backbone from a self-supervised checkpoint, completely or not at all."""

import logging
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from abaw_mm.checkpoints.checks.values import check_values
from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.checkpoints.match import (
    flatten_checkpoint,
    list_resizable,
    match_backbone,
    require_complete,
)
from abaw_mm.checks import check_arguments
from abaw_mm.errors import InvalidValueError


@WEIGHT_INITIALIZERS.register_module()
class SSLPretrained:
    """Initialize a backbone from a self-supervised checkpoint: ``init_cfg=dict(type=...)``.

    The source framework is detected from the keys (``docs/checkpoints.md`` lists the layouts). An
    incomplete match is an error, so that no training starts from random weights because of a
    mistyped prefix. The log has a table of the tensors that were found and of those that were
    dropped (projector, predictor, queue). The file is read as data, never as code.

    Args:
        checkpoint (str): Path or URL of a .pth or .safetensors file.
        allow_partial (bool): Fill the tensors that match and keep the initial values of the others.
            Defaults to False.
        prefix (str, optional): End of the prefix of the encoder to use, such as ``'encoder_k'``.
            Defaults to the documented encoder.

    Raises:
        InvalidValueError: If a tensor of the backbone is missing or has another shape, or if the
            network in the file is deeper.
        UnsafeCheckpointError: If reading the file would run code.
    """

    @check_arguments('model.backbone.init_cfg')
    def __init__(
        self, checkpoint: str, allow_partial: bool = False, prefix: str | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.allow_partial = allow_partial
        self.prefix = prefix

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``, a backbone."""
        _check_is_last(module)
        found = flatten_checkpoint(load_checkpoint_file(self.checkpoint))
        report = match_backbone(module.state_dict(), found, self.prefix, list_resizable(module))
        what = f'SSLPretrained: {self.checkpoint} -> {type(module).__name__}'
        require_complete(report, what, found, self.allow_partial)
        print_log(
            f'{what}\n{report.table()}',
            logger='current',
            level=logging.INFO if report.complete else logging.WARNING,
        )
        state_dict = {name: found[key] for name, key in report.sources.items()}
        check_values(state_dict, module.state_dict(), what)
        module.load_state_dict(state_dict, strict=False)
        _keep_weights(module, self.checkpoint)


def _check_is_last(module: Any) -> None:
    """Raise if another initializer follows in a list of ``init_cfg``."""
    init_cfg = getattr(module, 'init_cfg', None)
    if isinstance(init_cfg, (list, tuple)) and 'checkpoint' not in init_cfg[-1]:
        raise InvalidValueError(
            f'SSLPretrained: got init_cfg with {init_cfg[-1].get("type")} after it, which would '
            'overwrite the weights; put SSLPretrained at the end of the list'
        )


def _keep_weights(module: Any, checkpoint: str) -> None:
    """Prevent mmengine and mmpretrain from initializing the module again.

    After an initializer that is not called 'Pretrained', mmengine initializes the children, and
    mmpretrain's backbones set the last norm of each block to zero or draw position embeddings.
    """
    if not hasattr(module, 'init_cfg'):
        return
    module.init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    for child in module.modules():
        if child is not module and hasattr(child, 'init_weights'):
            child.is_init = True
