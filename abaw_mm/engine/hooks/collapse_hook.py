"""Stop a pre-training whose features have collapsed to one vector."""

import math
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn import functional as F

from abaw_mm.checks import at_least, between, check_arguments
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import TrainingFailedError


def feature_spread(features: torch.Tensor) -> torch.Tensor:
    """Compute the spread of feature directions: 1 if they are uniform, 0 if all are the same.

    The standard deviation over the batch of L2-normalized features, averaged over dimensions and
    multiplied by sqrt(D). This is SimSiam's measure (arXiv 2011.10566, Sec. 4.1), scaled so that
    its healthy value 1 / sqrt(D) becomes 1. Non-negative features, such as those of a backbone,
    stay below 1.

    Args:
        features: (N, D), or maps (N, D, H, W), which are averaged over space.

    >>> feature_spread(torch.tensor([[1., 0.], [2., 0.]])).item()
    0.0
    >>> everywhere = torch.tensor([[1., 0.], [0., 1.], [-1., 0.], [0., -1.]])
    >>> round(feature_spread(everywhere).item(), 5)
    1.0
    """
    features = features.float().flatten(2).mean(2) if features.dim() > 2 else features.float()
    unit = F.normalize(features, dim=1)
    return unit.std(dim=0, unbiased=False).mean() * math.sqrt(unit.shape[1])


@HOOKS.register_module()
class CollapseHook(Hook):
    """Log the spread of the features during pre-training, and stop after a collapse.

    ``spread_backbone`` and ``spread_neck`` are logged with the losses: the :func:`feature_spread`
    of the online network's first view, averaged over all processes. A collapse of either counts,
    since batch normalization at the end of a neck, as in SimSiam, amplifies the small differences
    that remain in a collapsed backbone.

    Args:
        interval (int): Steps between two measurements. Defaults to 50.
        min_spread (float): Spread below which the features count as collapsed, between 0 and 1.
            Defaults to 0.01. 0 disables the stop.
        patience (int): Consecutive collapsed measurements after which the run stops. Defaults to 3.

    Raises:
        TrainingFailedError: If the features have collapsed or are not finite.
    """

    @check_arguments(
        'custom_hooks[...]', interval=at_least(1), min_spread=between(0, 1), patience=at_least(1)
    )
    def __init__(self, interval: int = 50, min_spread: float = 0.01, patience: int = 3) -> None:
        self.interval = interval
        self.min_spread = min_spread
        self.patience = patience
        self._handles: list = []
        self._features: dict[str, torch.Tensor] = {}
        self._is_measuring = False
        self._collapsed = 0

    def before_train(self, runner: Runner) -> None:
        """Register forward hooks on backbone and neck."""
        model = unwrap_model(runner.model)
        for name in ('backbone', 'neck'):
            module = getattr(model, name, None)
            if module is not None:
                self._handles.append(module.register_forward_hook(self._make_forward_hook(name)))

    def _make_forward_hook(self, name: str) -> Callable:
        def keep_features(module: nn.Module, inputs: tuple, output: Any) -> None:
            if self._is_measuring and module.training and name not in self._features:
                feature = output[-1] if isinstance(output, (tuple, list)) else output
                self._features[name] = feature.detach()

        return keep_features

    def before_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Enable the measurement every ``interval`` steps."""
        self._is_measuring = self.every_n_train_iters(runner, self.interval)

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Log the spread and stop after a collapse."""
        if not self._is_measuring or not self._features:
            return
        spreads = self._measure()
        for name, value in spreads.items():
            runner.message_hub.update_scalar(f'train/spread_{name}', value)
        self._check_spreads(spreads, runner.iter + 1)

    def _measure(self) -> dict[str, float]:
        """Compute the spread of each module, the same on all processes."""
        values = torch.stack([feature_spread(feature) for feature in self._features.values()])
        all_reduce(values)  # so that all processes stop at the same step
        spreads = dict(zip(self._features, (values / get_world_size()).tolist(), strict=True))
        self._features.clear()
        return spreads

    def _check_spreads(self, spreads: dict[str, float], step: int) -> None:
        listed = ', '.join(f'{name} {value:.2g}' for name, value in spreads.items())
        if not all(map(math.isfinite, spreads.values())):
            raise TrainingFailedError(
                f'CollapseHook: got features that are not finite ({listed}) at step {step}, '
                'expected finite ones; the training diverged: lower optim_wrapper.optimizer.lr or '
                'turn AMP off, and resume an earlier checkpoint'
            )
        is_collapsed = min(spreads.values()) < self.min_spread
        self._collapsed = self._collapsed + 1 if is_collapsed else 0
        if self._collapsed >= self.patience:
            raise TrainingFailedError(
                f'CollapseHook: the features of all faces have collapsed: got a spread of {listed} '
                f'at step {step}, in {self._collapsed} measurements in a row, expected at least '
                f'{self.min_spread} (1: uniform directions, 0: one vector). Lower '
                'optim_wrapper.optimizer.lr, use a larger batch or a lower model.base_momentum, '
                'check that the faces differ, and resume an earlier checkpoint or start again. '
                'default_hooks.collapse.min_spread=0 disables the stop'
            )

    def after_train(self, runner: Runner) -> None:
        """Remove the forward hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
