"""Pre-training that makes one vector of all faces has failed, however low its loss is."""

import math

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn import functional as F


def feature_spread(features: torch.Tensor) -> torch.Tensor:
    """Standard deviation of unit vectors, 1 where they point everywhere and 0 where all are alike.

    The mean over dimensions of the standard deviation over the batch, of features of length 1,
    times sqrt(D): SimSiam's measure (arXiv 2011.10566, Sec. 4.1), whose healthy value 1 / sqrt(D)
    becomes 1. Features that are never negative, such as a backbone's, stay below.

    Args:
        features: (N, D), or maps (N, D, H, W), which are averaged.

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
    """Watch how far the features of faces lie apart, log it, and stop a run that has collapsed.

    ``spread_backbone`` and ``spread_neck`` are logged with the losses: :func:`feature_spread` of
    the online network's first view, the mean over all processes. Batch normalisation at the end of
    a neck, as SimSiam has it, blows up what little is left of a collapsed backbone: either counts.

    Args:
        interval (int): Steps between two looks. Defaults to 50.
        min_spread (float): Below it a look finds the features collapsed, 0-1. Defaults to 0.01.
        patience (int): Looks in a row that must find so before the run stops. Defaults to 3.

    Raises:
        RuntimeError: At a collapse, and where features are no longer finite.
    """

    def __init__(self, interval: int = 50, min_spread: float = 0.01, patience: int = 3) -> None:
        self.interval = interval
        self.min_spread = min_spread
        self.patience = patience
        self._handles: list = []
        self._features: dict[str, torch.Tensor] = {}
        self._looking = False
        self._collapsed = 0

    def before_train(self, runner: Runner) -> None:
        """Look over the shoulder of backbone and neck."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name in ('backbone', 'neck'):
            module = getattr(model, name, None)
            if module is not None:
                self._handles.append(module.register_forward_hook(self._keep(name)))

    def _keep(self, name: str):
        def keep(module: nn.Module, inputs: tuple, output: object) -> None:
            if self._looking and module.training and name not in self._features:
                feature = output[-1] if isinstance(output, (tuple, list)) else output
                self._features[name] = feature.detach()

        return keep

    def before_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Look at every so many steps."""
        self._looking = self.every_n_train_iters(runner, self.interval)

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Log what was seen; stop if it is the same vector again and again."""
        if not self._looking or not self._features:
            return
        names = list(self._features)
        spread = torch.stack([feature_spread(self._features[name]) for name in names])
        self._features.clear()
        all_reduce(spread)  # so that all processes stop at once
        spread = dict(zip(names, (spread / get_world_size()).tolist(), strict=True))
        for name, value in spread.items():
            runner.message_hub.update_scalar(f'train/spread_{name}', value)
        seen = ', '.join(f'{name} {value:.2g}' for name, value in spread.items())
        if not all(map(math.isfinite, spread.values())):
            raise RuntimeError(
                f'CollapseHook: got features that are not finite ({seen}) at step '
                f'{runner.iter + 1}, expected finite ones; the training diverged: lower '
                'optim_wrapper.optimizer.lr or turn AMP off, and resume an earlier checkpoint'
            )
        collapsed = min(spread.values()) < self.min_spread
        self._collapsed = self._collapsed + 1 if collapsed else 0
        if self._collapsed >= self.patience:
            raise RuntimeError(
                f'CollapseHook: the features of all faces have become the same: got a spread of '
                f'{seen} at step {runner.iter + 1}, at the {self._collapsed}th look in a row, '
                f'expected at least {self.min_spread} (1: all directions, 0: one vector); what '
                'follows would teach nothing. Lower optim_wrapper.optimizer.lr, take a larger '
                'batch or a lower model.base_momentum, check that the faces differ, and resume an '
                'earlier checkpoint or start anew. default_hooks.collapse.min_spread=0 only watches'
            )

    def after_train(self, runner: Runner) -> None:
        """Look away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
