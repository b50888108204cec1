"""Check that sampler, loop and metrics are compatible; give each training frame a random key."""

from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmpretrain.engine import VisualizationHook
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from abaw_mm.datasets.samplers.frame_stride import FrameStrideSampler
from abaw_mm.datasets.unwrap_datasets import check_frames_differ, find_frame_datasets
from abaw_mm.engine.unwrap_model import unwrap_model
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
            a loop over iterations; if frame batches are used with another sampler or dataset, or
            with metrics or pictures that need one object per frame; if two datasets of an
            evaluation have the same frames; if a batch of one frame would leave BN a single value
            per channel.
    """

    _has_checked = False
    priority = 'ABOVE_NORMAL'  # before FeatureWidthHook, which loads a frame

    def before_train(self, runner: Runner) -> None:
        """Check loop, sampler and validation."""
        loader = runner.train_loop.dataloader
        if isinstance(loader.sampler, FrameStrideSampler):
            _check_infinite(loader.sampler, runner.train_loop)
        elif uses_frame_batches(loader):
            raise InvalidValueError(
                f'train_dataloader.sampler: got a {type(loader.sampler).__name__}, expected a '
                "FrameStrideSampler, which collate_frames needs; set sampler=dict(type='"
                "FrameStrideSampler', stride=1, infinite=True) to draw all frames, or inherit "
                '_base_/plain.py, which accepts other samplers and datasets'
            )
        if runner.val_loop is not None:
            _check_metrics(runner.val_loop)
            _check_pictures(runner, runner.val_loop)

    def before_train_epoch(self, runner: Runner) -> None:
        """Check the smallest batch once, after the checks of the other hooks."""
        if not self._has_checked:
            _check_single_frames(runner)
        self._has_checked = True

    def before_test(self, runner: Runner) -> None:
        """Check metrics and pictures."""
        _check_metrics(runner.test_loop)
        _check_pictures(runner, runner.test_loop)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict) -> None:
        """Add the keys of this process's frames to the batch."""
        loader = runner.train_loop.dataloader
        if is_frame_batch(data_batch):
            # An infinite sampler counts from the first step of the run, a finite one in each epoch.
            add_keys(data_batch, loader, runner.iter if loader.sampler.infinite else batch_idx)


def add_keys(data_batch: dict, loader: DataLoader, step: int) -> None:
    """Add the keys of this process's frames to the batch of a step."""
    sampler: Any = loader.sampler
    start = step * (loader.batch_size or 0)
    data_batch['key'] = sampler.keys(start, len(data_batch['inputs']))


def _check_infinite(sampler: FrameStrideSampler, loop: Any) -> None:
    by_iteration = isinstance(loop, IterBasedTrainLoop)
    if sampler.infinite != by_iteration:
        raise InvalidValueError(
            f'train_dataloader.sampler: got infinite={sampler.infinite} with '
            f'{type(loop).__name__}, expected {by_iteration}; set '
            f'train_dataloader.sampler.infinite={by_iteration}'
        )


def _check_pictures(runner: Runner, loop: Any) -> None:
    if not uses_frame_batches(loop.dataloader):
        return
    if any(isinstance(hook, VisualizationHook) and hook.enable for hook in runner.hooks):
        raise InvalidValueError(
            'default_hooks.visualization: got a VisualizationHook, expected one for frame batches; '
            "set default_hooks.visualization.type='FrameVisualizationHook', or inherit "
            '_base_/plain.py, which uses the same checkpoints'
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
    if uses_frame_batches(loop.dataloader) and not find_frame_datasets(loop.dataloader.dataset):
        raise InvalidValueError(
            f'collate_frames: got a {type(loop.dataloader.dataset).__name__} to score, expected an '
            'AffWild2Dataset; inherit _base_/plain.py, which accepts other datasets'
        )
    if len(others) < len(metrics):
        check_frames_differ(loop.dataloader.dataset)


def _check_single_frames(runner: Runner) -> None:
    """Raise if a training batch of one frame would fail in a BN layer, maybe after an epoch."""
    loader, model = runner.train_loop.dataloader, unwrap_model(runner.model)
    if not isinstance(model, ImageClassifier) or not loader.batch_size:
        return
    if any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules()):
        return  # its batch is that of all processes
    size, last = loader.batch_size, None
    if isinstance(runner.train_loop, EpochBasedTrainLoop) and not loader.drop_last:
        last = len(loader.sampler) % size
    if 1 not in (size, last):
        return
    norm = _find_norm_of_single_values(model, loader)
    if norm is not None:
        got, fix = (
            ('batch_size=1', 'batch_size=2 or more')
            if size == 1
            else (f'a last batch of 1 of {len(loader.sampler)} frames', 'drop_last=True')
        )
        raise InvalidValueError(
            f'train_dataloader: got {got}, expected at least 2 frames, because the BN layer {norm} '
            f'has one value per frame and channel; set train_dataloader.{fix}'
        )


@torch.no_grad()
def _find_norm_of_single_values(model: Any, loader: DataLoader) -> str | None:
    """Return the name of a trained BN layer that gets one value per frame and channel."""
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, _BatchNorm) and layer.training
    }
    buffers = [buffer for layer in layers.values() for buffer in layer.buffers()]
    values = [buffer.clone() for buffer in buffers]
    found: list[str] = []

    def check(name: str, layer: nn.Module, args: tuple) -> None:
        if args[0].shape[2:].numel() == 1:
            found.append(name)

    handles = [
        layer.register_forward_pre_hook(partial(check, name)) for name, layer in layers.items()
    ]
    sample = loader.dataset[0]
    with torch.random.fork_rng():  # of dropout
        model(**model.data_preprocessor(loader.collate_fn([sample, sample])), mode='loss')
    for handle in handles:
        handle.remove()
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)  # running statistics have moved
    return found[0] if found else None
