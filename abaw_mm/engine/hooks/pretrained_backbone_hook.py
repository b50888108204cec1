"""Initialize the backbone from the config's ``checkpoint``; warn if there is none."""

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS
from torch import nn

from abaw_mm.checkpoints.load import check_checkpoint_path
from abaw_mm.checks import check_arguments
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidValueError

ADVICE = (
    ' Set `checkpoint` at the top of the config, or `--cfg-options checkpoint=PATH`, to the '
    'weights of a self-supervised backbone.'
)
META_KEY = 'random_backbone'  # in the meta of a checkpoint: the run started without weights


@HOOKS.register_module()
class PretrainedBackboneHook(Hook):
    """Initialize ``model.backbone`` from the config's ``checkpoint``; warn if it stays random.

    ``checkpoint`` at the top of the config is the only setting for the weights of a run. It is read
    when the training starts, so that a derived config can override it. With ``None`` the
    backbone's own ``init_cfg`` applies. If that has no weights either, a warning says that the
    frozen stages are random: at the start, at the end, and in each test of the resulting
    checkpoint.

    Args:
        warn (bool): Whether to warn. Defaults to True.
        module (str): Dotted name of the module to fill, such as ``'backbone.extractor'`` for an
            APViT that starts from face recognition. Defaults to ``'backbone'``.

    Raises:
        MissingFileError: If the path does not exist.
        InvalidValueError: If the model has no such module.
    """

    priority = 'VERY_HIGH'

    @check_arguments('default_hooks.pretrained_backbone')
    def __init__(self, warn: bool = True, module: str = 'backbone') -> None:
        self.warn = warn
        self.module = module
        self.random = False
        self.first = 0  # iteration at which the training starts or resumes

    def before_run(self, runner: Runner) -> None:
        """Set the ``init_cfg`` of the backbone before the Runner initializes the weights."""
        if not isinstance(runner._train_loop, BaseLoop):  # a validation or a test
            return
        model = unwrap_model(runner.model)
        checkpoint = runner.cfg.get('checkpoint')
        if not runner._resume:  # which has the weights of its own checkpoint
            check_checkpoint_path(checkpoint)
            if checkpoint:
                module = _get_module(model, self.module)
                module.init_cfg = dict(type='SSLPretrained', checkpoint=checkpoint)
            else:
                _import_pretrained(model)
        self.random = not (
            checkpoint
            or any(_has_weights(module) for module in (model, getattr(model, 'backbone', None)))
            or runner._load_from
            or runner._resume
        )

    def before_train(self, runner: Runner) -> None:
        """Warn at the start."""
        self.first = runner.iter
        self._warn(runner)

    def after_train(self, runner: Runner) -> None:
        """Warn at the end, in other words, since mmengine's logger drops repeated warnings."""
        if runner.iter > self.first:  # otherwise nothing was trained
            self._warn(runner, 'At the end: the')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store in the checkpoint whether the run started without weights."""
        checkpoint['meta'][META_KEY] = self.random

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read from the checkpoint whether its run started without weights."""
        self.random = bool(checkpoint.get('meta', {}).get(META_KEY, False))

    def before_test(self, runner: Runner) -> None:
        """Warn in a test."""
        self._warn(runner, 'When this checkpoint was trained, the', advice='')

    def _warn(self, runner: Runner, begin: str = 'The', advice: str = ADVICE) -> None:
        if not self.random or not self.warn:
            return
        backbone = getattr(unwrap_model(runner.model), 'backbone', None)
        frozen = getattr(backbone, 'frozen_stages', -1)
        effect = (
            f'its {frozen} frozen stages stay random' if frozen > 0 else 'it trains from scratch'
        )
        print_log(
            f'{begin} backbone started from random weights: {effect}, and the scores are not those '
            f'of the paper.{advice}',
            logger='current',
            level=logging.WARNING,
        )


def _import_pretrained(model: Any) -> None:
    """Replace OpenMMLab's ``Pretrained`` of the backbone by our import, which loads all or fails.

    ``Pretrained`` loads whatever tensors have the right name, if only none, without an error.

    Raises:
        InvalidValueError: If ``Pretrained`` is to fill the whole model.
    """
    if any(cfg.get('type') == 'Pretrained' for cfg in _list_init_cfgs(model)):
        raise InvalidValueError(
            "model.init_cfg (or model.pretrained): got type 'Pretrained', which ignores tensors "
            'that do not match; set load_from for a whole model, or checkpoint for a backbone'
        )
    backbone: Any = getattr(model, 'backbone', None)
    init_cfgs = [_translate_init_cfg(cfg) for cfg in _list_init_cfgs(backbone)]
    if init_cfgs:
        backbone.init_cfg = init_cfgs


def _translate_init_cfg(cfg: dict) -> dict:
    if cfg.get('type') != 'Pretrained':
        return cfg
    prefix = (cfg.get('prefix') or '').rstrip('.')
    chosen = dict(prefix=prefix) if prefix else {}
    return dict(type='SSLPretrained', checkpoint=cfg['checkpoint'], **chosen)


def _get_module(model: nn.Module, name: str) -> Any:
    """Return a module of the model by its dotted name."""
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise InvalidValueError(
            f'default_hooks.pretrained_backbone.module: got {name!r}, expected a module of the '
            f'{type(model).__name__} ({error}); correct the name'
        ) from error


def _has_weights(module: object) -> bool:
    """Return whether the ``init_cfg`` of a module reads weights from a file."""
    return any('checkpoint' in cfg for cfg in _list_init_cfgs(module))


def _list_init_cfgs(module: object) -> list[dict]:
    init_cfg = getattr(module, 'init_cfg', None) or []
    return [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg)
