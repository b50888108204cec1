"""Train a model from a config."""

import importlib.util
import logging

from mmengine.dist import barrier
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from abaw_mm import compat
from abaw_mm.apis.config import (
    load_config,
    log_batch,
    set_loader_flags,
)
from abaw_mm.checkpoints.find_latest import find_latest
from abaw_mm.checkpoints.load import check_checkpoint_path


def train(
    config: str,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    validate: bool = True,
    auto_scale_lr: bool = False,
    tensorboard: bool = False,
    pin_memory: bool = True,
    persistent_workers: bool = True,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> nn.Module:
    """Train a model as ``tools/train.py`` does.

    Args:
        config (str): Path of the config.
        work_dir (str, optional): Where logs and checkpoints go, see :func:`load_config`.
        resume (str, optional): A checkpoint to go on from, or ``'auto'`` for the latest one of
            ``work_dir``; if there is none, the run starts as without.
        amp (bool): Automatic mixed precision: fp16 with CUDA, bf16 on the CPU.
        validate (bool): Whether to score the validation set during training, or its sample in
            pre-training (``ProbeHook``).
        auto_scale_lr (bool): Scale the learning rate with the batch over all processes.
        tensorboard (bool): Write the curves for TensorBoard, too.
        pin_memory, persistent_workers (bool): Of all data loaders.
        cfg_options (dict, optional): Overrides of the config.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Returns:
        nn.Module: The trained model.

    Raises:
        FileNotFoundError: If the config, ``checkpoint`` or ``resume`` is not there.
        ValueError: If the config cannot do what was asked, or the latest checkpoint is damaged.
        ImportError: If TensorBoard is asked for and not installed.
    """
    cfg = load_config(config, launcher, work_dir, cfg_options)
    check_checkpoint_path(cfg.get('checkpoint'))
    if resume == 'auto':
        latest = find_latest(cfg.work_dir)
        cfg.resume = latest is not None
        if cfg.resume:
            cfg.load_from = latest
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    check_checkpoint_path(cfg.get('load_from'), 'load_from')
    if amp and cfg.optim_wrapper.get('type') != 'AutoAmpOptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if not validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.pop('save_best', None)
        if 'probe' in cfg.default_hooks:
            cfg.default_hooks.probe.interval = 0
    if auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise ValueError(
                f'--auto-scale-lr: {config} has no auto_scale_lr; set '
                'auto_scale_lr=dict(base_batch_size=128), the batch its learning rate was '
                'chosen for'
            )
        cfg.auto_scale_lr.enable = True
    if tensorboard:
        _add_tensorboard(cfg)
    set_loader_flags(cfg, pin_memory, persistent_workers)
    cfg = compat.adapt_cfg_to_cpu(cfg, launcher)
    runner = Runner.from_cfg(cfg)
    log_batch(cfg)
    if resume == 'auto' and not cfg.resume:
        print_log(
            f'--resume: there is no checkpoint in {cfg.work_dir} yet, the run starts anew',
            logger='current',
            level=logging.WARNING,
        )
    model = runner.train()
    barrier()  # a process that leaves early aborts those still writing
    print_log(f'Checkpoints and logs are in {cfg.work_dir}', logger='current', level=logging.INFO)
    return model


def _add_tensorboard(cfg) -> None:
    if not any(importlib.util.find_spec(name) for name in ('tensorboard', 'tensorboardX')):
        raise ImportError(
            '--tensorboard: TensorBoard is not installed; install it with '
            '`pip install tensorboard`, or leave the flag out'
        )
    backends = cfg.visualizer.setdefault('vis_backends', [])
    if not any(backend['type'] == 'TensorboardVisBackend' for backend in backends):
        cfg.visualizer.vis_backends = [*backends, dict(type='TensorboardVisBackend')]
