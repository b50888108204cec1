"""What pre-training is for: the backbone alone, in a file that fine-tuning starts from."""

import os

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from abaw_mm.files import atomic_write


@HOOKS.register_module()
class ExportBackboneHook(Hook):
    """Write the backbone at the end of a training, for ``checkpoint`` of a fine-tuning config.

    The file holds ``state_dict`` with keys ``backbone.*``, and ``meta``, plain strings. It is
    written whole or not at all; a run that stops early leaves none.

    Args:
        filename (str): Name of the file in the work dir. Defaults to ``'backbone.pth'``.
    """

    priority = 'LOWEST'

    def __init__(self, filename: str = 'backbone.pth') -> None:
        self.filename = filename

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the file and tell what to do with it."""
        from abaw_mm.version import __version__

        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
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
        with atomic_write(path) as draft:
            torch.save(dict(state_dict=state_dict, meta=meta), draft)
        print_log(f'The backbone is ready for fine-tuning: checkpoint={path}', logger='current')
