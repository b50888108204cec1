"""The config's ``checkpoint`` becomes the backbone's weights, and its absence is said aloud."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS
from torch import nn

from abaw_mm.checkpoints.load import check_checkpoint_path

META_KEY = 'random_backbone'  # in the meta of a checkpoint whose run began without weights


@HOOKS.register_module()
class PretrainedBackboneHook(Hook):
    """Start ``model.backbone`` from the config's ``checkpoint``; say so if it is random.

    The weights of a run are one setting, ``checkpoint`` at the top of the config, read when a
    training starts, so that a config that inherits can override it. ``None`` leaves the backbone
    to its own ``init_cfg``; if that has no weights either, a warning at the start, at the end, and
    at each test of the resulting checkpoint says that the frozen stages are random.

    Args:
        warn (bool): Whether to warn. Defaults to True.
        module (str): What ``checkpoint`` fills, a module of the model: the whole backbone, or the
            part that the weights are of, such as ``'backbone.extractor'`` for an APViT that
            starts from face recognition. Defaults to ``'backbone'``.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the model has no such module.
    """

    priority = 'VERY_HIGH'

    def __init__(self, warn: bool = True, module: str = 'backbone') -> None:
        self.warn = warn
        self.module = module
        self.random = False
        self.first = 0  # iteration that a training begins or goes on from

    def before_run(self, runner: Runner) -> None:
        """Set the backbone's ``init_cfg``, just before the Runner initialises the weights."""
        if not isinstance(runner._train_loop, BaseLoop):  # a validation or a test
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = getattr(model, 'backbone', None)
        checkpoint = runner.cfg.get('checkpoint')
        check_checkpoint_path(checkpoint)
        if checkpoint:
            _submodule(model, self.module).init_cfg = dict(
                type='SSLPretrained', checkpoint=checkpoint
            )
        self.random = not (
            checkpoint
            or any(_has_weights(module) for module in (model, backbone))
            or runner._load_from
            or runner._resume
        )

    def before_train(self, runner: Runner) -> None:
        """Warn at the start."""
        self.first = runner.iter
        self._warn(runner)

    def after_train(self, runner: Runner) -> None:
        """Warn at the end, in other words: mmengine's logger drops a warning that it has seen."""
        if runner.iter > self.first:  # else it was complete, and the start is just above
            self._warn(runner, 'At the end: the')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note in the checkpoint that it began without weights."""
        checkpoint['meta'][META_KEY] = self.random

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember it when the checkpoint is resumed or tested."""
        self.random = bool(checkpoint.get('meta', {}).get(META_KEY, False))

    def before_test(self, runner: Runner) -> None:
        """Warn at a test."""
        self._warn(runner)

    def _warn(self, runner: Runner, begin: str = 'The') -> None:
        if not self.random or not self.warn:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        frozen = getattr(getattr(model, 'backbone', None), 'frozen_stages', -1)
        stays = (
            f'its {frozen} frozen stages stay random' if frozen > 0 else 'it learns from scratch'
        )
        print_log(
            f'{begin} backbone started from random weights: {stays}, the scores are not those of '
            'the paper. Set `checkpoint` at the top of the config, or '
            '`--cfg-options checkpoint=PATH`, to the weights of a self-supervised backbone.',
            logger='current',
            level=logging.WARNING,
        )


def _submodule(model: nn.Module, name: str) -> nn.Module:
    """A module of the model by its dotted name."""
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(
            f'checkpoint fills {name!r}, and the {type(model).__name__} has no such module '
            f'({error}); set default_hooks.pretrained_backbone.module'
        ) from error


def _has_weights(module: object) -> bool:
    """Whether a module's ``init_cfg`` reads weights from a file."""
    init_cfg = getattr(module, 'init_cfg', None) or []
    init_cfg = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
    return any('checkpoint' in cfg for cfg in init_cfg)
