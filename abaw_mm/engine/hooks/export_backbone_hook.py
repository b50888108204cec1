"""Export the backbone of a pre-training for fine-tuning."""

import os

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner, save_checkpoint
from mmpretrain.registry import HOOKS

from abaw_mm.checks import check_arguments
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.version import __version__


@HOOKS.register_module()
class ExportBackboneHook(Hook):
    """Write the backbone at the end of a training, for ``checkpoint`` of a fine-tuning config.

    The file holds ``state_dict`` with keys ``backbone.*``, and ``meta`` with plain strings. It is
    written atomically. A run that stops early writes no file.

    Args:
        filename (str): Name of the file in the work dir. Defaults to ``'backbone.pth'``.
    """

    priority = 'LOWEST'

    @check_arguments('custom_hooks[...]')
    def __init__(self, filename: str = 'backbone.pth') -> None:
        self.filename = filename

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the file and log how to use it."""
        model = unwrap_model(runner.model)
        backbone = model.backbone
        state_dict = {
            f'backbone.{name}': tensor.cpu() for name, tensor in backbone.state_dict().items()
        }
        meta = dict(
            method=type(model).__name__,
            backbone=type(backbone).__name__,
            depth=str(getattr(backbone, 'depth', '')),
            iterations=str(runner.iter),
            abaw_mm_version=__version__,
        )
        path = os.path.join(runner.work_dir, self.filename)
        save_checkpoint(dict(state_dict=state_dict, meta=meta), path)
        print_log(f'Backbone for fine-tuning: checkpoint={path}', logger='current')
