"""Read and prepare a config: settings, processes, data loaders."""

import difflib
import logging
import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import MMLogger, print_log

from abaw_mm.apis.checks.check_settings import check_settings
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.apis.quiet_runner import print_for_people
from abaw_mm.checks import MAX_SEED
from abaw_mm.compat.cpu import LAUNCHERS, init_dist, set_dist_environment
from abaw_mm.compat.end_with_parent import end_with_parent
from abaw_mm.engine.processes.comparison import compare_processes
from abaw_mm.engine.processes.digests import describe_program
from abaw_mm.engine.processes.meeting import meet_processes
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.model_index import find_config_root

SUFFIXES = ('.py', '.yml', '.yaml', '.json')  # of mmengine's configs


def load_config(
    config: str,
    launcher: str = 'none',
    work_dir: str | None = None,
    cfg_options: dict | None = None,
) -> Config:
    """Read a config for a run, start the process group, and compare code and config over it.

    ``WORLD_SIZE`` is set first, because configs divide the batch by it.

    Args:
        config (str): Path of the config, or the name of one of ours.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        work_dir (str, optional): Folder for logs and checkpoints. Defaults to the config's
            ``work_dir``, or ``work_dirs/<name of the config>``.
        cfg_options (dict, optional): Overrides, such as ``{'train_cfg.max_iters': 100}``.

    Raises:
        MissingFileError: If there is no such config.
        InvalidValueError: If the config cannot be read, a setting is misspelt, the seed is out of
            range, or another process has another code or config.
        LostProcessError: If a process is absent.
    """
    config = find_config(config)
    if not str(config).endswith(SUFFIXES):
        raise InvalidValueError(
            f'config={config!r}: got another file, expected a config ({", ".join(SUFFIXES)}) such '
            'as configs/res50_srp_affwild2.py; correct the path'
        )
    _prepare_process(launcher)
    print_for_people(MMLogger.get_current_instance())
    with convert_config_errors(config):
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(cfg_options or {})
    check_settings(cfg, cfg_options or ())
    _check_seed(cfg)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(config).stem)
    dist_cfg = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    set_dist_environment(launcher, dist_cfg.get('port'))
    with meet_processes(launcher):
        init_dist(launcher, **dist_cfg)
    compare_processes(
        lambda: describe_program(cfg), 'use the same code, config and command on all nodes'
    )
    return cfg


def start_processes(launcher: str) -> None:
    """Start the process group of a run without a Runner, with NCCL if there is CUDA.

    Args:
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        InvalidValueError: If the launcher is unknown or did not set its environment variables.
    """
    _prepare_process(launcher)
    init_dist(launcher)


def find_config(config: str) -> str:
    """Return the path of a config: the path itself, or that of one of our configs by its name.

    Raises:
        MissingFileError: If there is no such file and no config of this name.

    >>> os.path.basename(find_config('res50_srp_affwild2'))
    'res50_srp_affwild2.py'
    """
    if os.path.isfile(config):
        return config
    folder = find_config_root() / 'configs'
    path = folder / f'{config.removesuffix(".py")}.py'
    if os.path.basename(config) == config and path.is_file():
        return str(path)
    names = [path.stem for path in folder.glob('*.py')]
    closest = difflib.get_close_matches(Path(config).stem, names, 1) or ['res50_srp_affwild2']
    raise MissingFileError(
        f'config={config!r}: no such file, expected the path of one, or the name of one of ours '
        f'such as {closest[0]}; correct it'
    )


def _prepare_process(launcher: str) -> None:
    world_size = LAUNCHERS.get(launcher, {}).get('WORLD_SIZE', '')
    if launcher == 'none':
        os.environ.pop('WORLD_SIZE', None)  # a cluster's login shell may set it
    elif world_size in os.environ:
        os.environ['WORLD_SIZE'] = os.environ[world_size]
    if launcher != 'none':
        for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
            os.environ.setdefault(name, '1')  # mmengine does the same, with a warning per process
    if launcher == 'pytorch':
        end_with_parent()


def _check_seed(cfg: Config) -> None:
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed <= MAX_SEED):
        raise InvalidValueError(
            f'randomness.seed={seed!r}: expected an integer in 0..{MAX_SEED}, or None for a random '
            'seed; set randomness=dict(seed=...)'
        )


def set_loader_flags(cfg: Config, pin_memory: bool, persistent_workers: bool) -> None:
    """Apply two flags of the commands to every data loader. Memory is only pinned with CUDA."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is None:
            continue
        loader.pin_memory = (
            loader.get('pin_memory', True) and pin_memory and torch.cuda.is_available()
        )
        loader.persistent_workers = (
            loader.get('persistent_workers', True)
            and persistent_workers
            and loader.get('num_workers', 0) > 0
        )


def count_batch(cfg: Config) -> int:
    """Count the samples of one update of the weights: over all processes and accumulated steps."""
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    return get_world_size() * cfg.train_dataloader.batch_size * accumulated


def log_batch(cfg: Config) -> None:
    """Log the batch size of an update, and warn if the learning rate is for another one."""
    batch, world, total = cfg.train_dataloader.batch_size, get_world_size(), count_batch(cfg)
    unit = 'windows' if 'window' in cfg.train_dataloader.dataset else 'frames'
    accumulated = total // (world * batch)
    steps = f' x {accumulated} accumulated steps' if accumulated > 1 else ''
    line = f'batch: {world} x {batch}{steps} = {total} {unit} per {"update" if steps else "step"}'
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size', total)
    if total == base:
        print_log(line, logger='current')
    else:
        print_log(
            f'{line}, but the learning rate was chosen for {base}: scale it with --auto-scale-lr, '
            f'or set train_dataloader.batch_size ({unit} per process)',
            logger='current',
            level=logging.WARNING,
        )
