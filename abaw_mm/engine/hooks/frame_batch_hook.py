"""Check that sampler, loop and metrics are compatible; give each training frame a random key."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from abaw_mm.datasets.samplers.frame_stride import FrameStrideSampler
from abaw_mm.datasets.unwrap_datasets import check_frames_differ
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import FrameMetric
from abaw_mm.structures import is_frame_batch, uses_frame_batches


@HOOKS.register_module()
class FrameBatchHook(Hook):
    """Check a run for compatible parts, and give each training frame a key of random numbers.

    ``key``, (N, ) uint64, is added to training batches of ``collate_frames`` for
    ``FrameDataPreprocessor``. The sampler computes it from seed, epoch and position in the draw.
    So it does not depend on the workers, and is the same in a resumed run.

    Raises:
        InvalidValueError: If an infinite sampler is used in a loop over epochs, or a finite one in
            a loop over iterations; if frame batches are used with another sampler or with metrics
            that need one object per frame; if two datasets of an evaluation have the same frames.
    """

    def before_train(self, runner: Runner) -> None:
        """Check loop, sampler and validation, and restore the seed of a resumed run."""
        loader = runner.train_loop.dataloader
        if isinstance(loader.sampler, FrameStrideSampler):
            _check_infinite(loader.sampler, runner.train_loop)
            if runner.iter > 0 and runner.cfg.train_dataloader.sampler.get('seed') is None:
                loader.sampler.reseed(runner.seed)  # the seed of the checkpoint, not of the config
        elif uses_frame_batches(loader):
            raise InvalidValueError(
                f'train_dataloader.sampler: got a {type(loader.sampler).__name__}, expected a '
                "FrameStrideSampler, which collate_frames needs; set sampler=dict(type='"
                "FrameStrideSampler', stride=1, infinite=True) for plain sampling"
            )
        if runner.val_loop is not None:
            _check_metrics(runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Check the metrics."""
        _check_metrics(runner.test_loop)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict) -> None:
        """Add the keys of this process's frames to the batch."""
        if not is_frame_batch(data_batch):
            return
        loader = runner.train_loop.dataloader
        # An infinite sampler counts from the first step of the run, a finite one in each epoch.
        step = runner.iter if loader.sampler.infinite else batch_idx
        data_batch['key'] = loader.sampler.keys(step * loader.batch_size, len(data_batch['inputs']))


def _check_infinite(sampler: FrameStrideSampler, loop: Any) -> None:
    by_iteration = isinstance(loop, IterBasedTrainLoop)
    if sampler.infinite != by_iteration:
        raise InvalidValueError(
            f'train_dataloader.sampler: got infinite={sampler.infinite} with '
            f'{type(loop).__name__}, expected {by_iteration}; set '
            f'train_dataloader.sampler.infinite={by_iteration}'
        )


def _check_metrics(loop: Any) -> None:
    metrics = loop.evaluator.metrics
    others = [metric for metric in metrics if not isinstance(metric, FrameMetric)]
    if others and uses_frame_batches(loop.dataloader):
        raise InvalidValueError(
            f'collate_frames: got the metric {type(others[0]).__name__}, expected MacroF1 or '
            'another metric of abaw_mm, which accept frame batches; inherit _base_/plain.py, '
            'which uses the same checkpoints'
        )
    if len(others) < len(metrics):
        check_frames_differ(loop.dataloader.dataset)
