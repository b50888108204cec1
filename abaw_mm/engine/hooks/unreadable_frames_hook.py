"""Log how many frames could not be read."""

import logging

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS

from abaw_mm.datasets.affwild2 import NEAREST
from abaw_mm.datasets.unwrap_datasets import find_frame_datasets


@HOOKS.register_module()
class UnreadableFramesHook(Hook):
    """Log, before each evaluation, how many unreadable frames were replaced by the nearest frame.

    Applies to training sets with ``unreadable='nearest'``. The count covers all workers and
    processes since the start of the run.
    """

    def before_val(self, runner: Runner) -> None:
        """Log the count so far."""
        self._log(runner)

    def after_train(self, runner: Runner) -> None:
        """Log the count of the whole run."""
        self._log(runner)

    def _log(self, runner: Runner) -> None:
        if not isinstance(runner._train_loop, BaseLoop):  # a validation alone
            return
        datasets = [
            dataset
            for dataset in find_frame_datasets(runner.train_loop.dataloader.dataset)
            if dataset.unreadable == NEAREST
        ]
        if not datasets:
            return
        # Subsets of one dataset share a counter.
        counters = {dataset.replaced.data_ptr(): dataset.replaced for dataset in datasets}
        count = torch.stack(list(counters.values())).sum()
        all_reduce(count)
        print_log(
            f'Unreadable frames: {int(count)} replaced by the nearest frame of the clip so far',
            logger='current',
            level=logging.WARNING if count else logging.INFO,
        )
