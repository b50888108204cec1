"""The neck's width must fit the head before a training starts, not at its first step."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader


@HOOKS.register_module()
class FeatureWidthHook(Hook):
    """Send one image through backbone and neck and compare with ``model.head.in_channels``.

    The width of a flattened map depends on the size of the images, which only the pipeline
    knows.

    Raises:
        ValueError: With both widths, if they differ; from the neck, if the map is too small.
    """

    def before_train(self, runner: Runner) -> None:
        """Check against the training pipeline."""
        self._check(runner, runner.train_loop.dataloader)

    def before_test(self, runner: Runner) -> None:
        """Check against the test pipeline."""
        self._check(runner, runner.test_loop.dataloader)

    def _check(self, runner: Runner, dataloader: DataLoader) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        expected = getattr(getattr(model, 'head', None), 'in_channels', None)
        if expected is None or getattr(model, 'neck', None) is None:
            return
        training = model.training
        model.eval()
        with torch.no_grad():
            sample = dataloader.dataset[0]
            if isinstance(sample.get('inputs'), (list, tuple)):  # views of test-time augmentation
                sample = {key: views[0] for key, views in sample.items()}
            batch = dataloader.collate_fn([sample])
            inputs = model.data_preprocessor(batch, training=False)['inputs']
            features = model.extract_feat(inputs)
        model.train(training)
        feature = features[-1] if isinstance(features, (tuple, list)) else features
        got = feature.flatten(1).shape[1]
        if got != expected:
            raise ValueError(
                f'{type(model.neck).__name__} gives {got} features a frame for images of '
                f'{inputs.shape[2]}x{inputs.shape[3]} pixels, model.head.in_channels expects '
                f'{expected}; set model.head.in_channels={got}, or the crop size that gives '
                f'{expected}'
            )
