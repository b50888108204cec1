"""Check before a run that the neck's output has the width of the head."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidValueError


@HOOKS.register_module()
class FeatureWidthHook(Hook):
    """Compare the width of the neck's output with ``model.head.in_channels``.

    One image is sent through backbone and neck, since the width of a flattened map depends on the
    size of the images, which only the pipeline determines.

    Raises:
        InvalidValueError: If the widths differ, or from the neck, if the map is too small.
    """

    def before_train(self, runner: Runner) -> None:
        """Check an image of the training pipeline."""
        _check_width(unwrap_model(runner.model), runner.train_loop.dataloader)

    def before_test(self, runner: Runner) -> None:
        """Check an image of the test pipeline."""
        _check_width(unwrap_model(runner.model), runner.test_loop.dataloader)


def _check_width(model: Any, dataloader: DataLoader) -> None:
    expected = getattr(getattr(model, 'head', None), 'in_channels', None)
    if expected is None or getattr(model, 'neck', None) is None:
        return
    width, size = _measure_width(model, dataloader)
    if width != expected:
        raise InvalidValueError(
            f'model.head.in_channels: got {expected}, expected {width}, the features per frame '
            f'that {type(model.neck).__name__} returns for images of {size} pixels; set '
            f'model.head.in_channels={width}, or the crop size that gives {expected}'
        )


@torch.no_grad()
def _measure_width(model: Any, dataloader: Any) -> tuple[int, str]:
    """Return the width of the neck's output, and the size of the images as text."""
    sample = dataloader.dataset[0]
    if isinstance(sample.get('inputs'), (list, tuple)):  # views of test-time augmentation
        sample = {key: views[0] for key, views in sample.items()}
    batch = dataloader.collate_fn([sample])
    was_training = model.training
    model.eval()
    inputs = model.data_preprocessor(batch, training=False)['inputs']
    features = model.extract_feat(inputs)
    model.train(was_training)
    feature = features[-1] if isinstance(features, (tuple, list)) else features
    return feature.flatten(1).shape[1], f'{inputs.shape[2]}x{inputs.shape[3]}'
