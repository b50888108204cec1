"""Check before a run that the features have the width of the head."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidValueError
from abaw_mm.models import TemporalClassifier


@HOOKS.register_module()
class FeatureWidthHook(Hook):
    """Compare the width of the features with ``model.head.in_channels``.

    One image is sent through backbone and neck, since the width of a flattened map depends on the
    size of the images, which only the pipeline determines. Of a model over features, one window.

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
    temporal = isinstance(model, TemporalClassifier)
    if expected is None or (getattr(model, 'neck', None) is None and not temporal):
        return
    inputs, width = _measure_width(model, dataloader)
    if width == expected:
        return
    last = model.backbone if getattr(model, 'neck', None) is None else model.neck
    of, fix = '', 'the channels of that part'
    if not temporal:
        of = f' for images of {inputs.shape[2]}x{inputs.shape[3]} pixels'
        fix = f'the crop size that gives {expected}'
    raise InvalidValueError(
        f'model.head.in_channels: got {expected}, expected {width}, the features per frame that '
        f'{type(last).__name__} returns{of}; set model.head.in_channels={width}, or {fix}'
    )


@torch.no_grad()
def _measure_width(model: Any, dataloader: Any) -> tuple[Any, int]:
    """Return the input of a sample, and the number of features that reach the head."""
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
    return inputs, feature.flatten(1).shape[1]
