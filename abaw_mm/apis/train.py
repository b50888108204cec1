"""Train a model from a config."""

import importlib.util
import logging

from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.logging import print_log
from torch import nn

from abaw_mm.apis.build_runner import build_runner
from abaw_mm.apis.config import load_config, log_batch, set_loader_flags
from abaw_mm.checkpoints.find_latest import find_latest
from abaw_mm.checkpoints.load import check_checkpoint_path
from abaw_mm.compat.cpu import end_process_group
from abaw_mm.engine.end_workers import end_workers
from abaw_mm.engine.lock_run_folder import lock_run_folder
from abaw_mm.engine.processes.comparison import compare_processes
from abaw_mm.engine.processes.digests import describe_files
from abaw_mm.engine.resume.stop_hook import StopHook, detach_workers
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidValueError, MissingPackageError
from abaw_mm.models.efficient_conv_bn import enable_efficient_conv_bn_eval


@end_process_group()
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
    verbose: bool = False,
) -> nn.Module:
    """Train a model, as ``tools/train.py`` does.

    Args:
        config (str): Path of the config.
        work_dir (str, optional): Folder for logs and checkpoints, see :func:`load_config`.
        resume (str, optional): Checkpoint to resume from, or ``'auto'`` for the latest one of
            ``work_dir``. If there is none yet, the run starts from the beginning.
        amp (bool): Automatic mixed precision: fp16 with CUDA, bf16 on the CPU.
        validate (bool): Whether to score the validation set during training, or its sample in
            pre-training (``ProbeHook``).
        auto_scale_lr (bool): Whether to scale the learning rate with the batch size over all
            processes.
        tensorboard (bool): Whether to write the curves for TensorBoard as well.
        pin_memory, persistent_workers (bool): Settings of all data loaders.
        cfg_options (dict, optional): Overrides of the config.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        verbose (bool): Whether to print the environment, the hooks and the config.

    Returns:
        nn.Module: The trained model, without the wrapper of distributed training.

    Raises:
        MissingFileError: If the config, ``checkpoint`` or ``resume`` does not exist.
        InvalidValueError: If the config has a mistake or lacks what an argument needs, or the
            work dir has checkpoints and none is complete.
        FileAccessError: If another run uses the work dir, or it cannot be written to.
        MissingPackageError: If TensorBoard is requested and not installed.
    """
    cfg = load_config(config, launcher, work_dir, cfg_options)
    resume = _set_start(cfg, resume)
    # A resumed run has the weights of its checkpoint, and the other file may be gone.
    start = dict(load_from=cfg.get('load_from'))
    if not cfg.get('resume'):
        start['checkpoint'] = cfg.get('checkpoint')
    for setting, path in start.items():
        check_checkpoint_path(path, setting)
    compare_processes(
        lambda: describe_files(**start),
        'all nodes need the same checkpoints: share the work dir, or copy them',
    )
    if amp and cfg.optim_wrapper.get('type') != 'AutoAmpOptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if not validate:
        _remove_validation(cfg)
    if auto_scale_lr:
        _scale_learning_rate(cfg)
    if tensorboard:
        _add_tensorboard(cfg)
    set_loader_flags(cfg, pin_memory, persistent_workers)
    # The Runner writes the config into the work dir, which must not be that of another run.
    with lock_run_folder(cfg.work_dir, '--work-dir'), detach_workers():
        runner = build_runner(cfg, verbose)
        enable_efficient_conv_bn_eval(runner.model, runner.cfg)
        log_batch(cfg)
        if resume == 'auto' and not cfg.resume:
            print_log(
                f'--resume: no checkpoint in {cfg.work_dir} yet, the run starts from the beginning',
                logger='current',
                level=logging.WARNING,
            )
        stop = StopHook()
        runner.register_hook(stop)
        with end_workers(runner), stop.handle_errors(runner):
            model = runner.train()
    barrier()  # a process that exits early would abort those still writing
    print_log(f'Checkpoints and logs are in {cfg.work_dir}', logger='current')
    return unwrap_model(model)


def _set_start(cfg: Config, resume: str | None) -> str | None:
    """Set ``load_from`` and ``resume`` of the config; return what to resume, also of the config."""
    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume = 'auto'
    if resume == 'auto':
        latest = find_latest(cfg.work_dir, _get_checkpoint_hook(cfg).get('out_dir'))
        cfg.resume = latest is not None
        if cfg.resume:
            cfg.load_from = latest
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    return resume


def _get_checkpoint_hook(cfg: Config) -> dict:
    """Return the config of the checkpoint hook, which None turns off."""
    return cfg.get('default_hooks', {}).get('checkpoint') or {}


def _remove_validation(cfg: Config) -> None:
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    _get_checkpoint_hook(cfg).pop('save_best', None)
    if 'probe' in cfg.default_hooks:
        cfg.default_hooks.probe.interval = 0


def _scale_learning_rate(cfg: Config) -> None:
    if 'auto_scale_lr' not in cfg:
        raise InvalidValueError(
            f'--auto-scale-lr: {cfg.filename} has no auto_scale_lr; set '
            'auto_scale_lr=dict(base_batch_size=128), the batch size that its learning rate was '
            'chosen for'
        )
    cfg.auto_scale_lr.enable = True


def _add_tensorboard(cfg: Config) -> None:
    if not any(importlib.util.find_spec(name) for name in ('tensorboard', 'tensorboardX')):
        raise MissingPackageError(
            '--tensorboard: TensorBoard is not installed; install it with '
            '`pip install tensorboard`, or leave the flag out'
        )
    cfg.visualizer = cfg.get('visualizer') or dict(type='Visualizer')
    backends = cfg.visualizer.setdefault('vis_backends', [])
    if not any(backend['type'] == 'TensorboardVisBackend' for backend in backends):
        cfg.visualizer.vis_backends = [*backends, dict(type='TensorboardVisBackend')]
