"""What training and testing share before the Runner: config, processes, device."""

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log

from abaw_mm import compat
from abaw_mm.apis.check_settings import check_settings

MAX_SEED = 2**32 - 1  # NumPy's
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)
# The variable in which a launcher tells how many processes there are; torchrun sets WORLD_SIZE.
WORLD_SIZE_OF = dict(slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE')


def load_config(
    config: str,
    launcher: str = 'none',
    work_dir: str | None = None,
    cfg_options: dict | None = None,
) -> Config:
    """Read a config for a run and fit it to the machine.

    Starts the process group where mmengine could not (gloo, without CUDA), and lets the config
    know the number of processes, by which it divides the batch.

    Args:
        config (str): Path of the config.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        work_dir (str, optional): Where logs and checkpoints go. Defaults to the config's
            ``work_dir``, or ``work_dirs/<name of the config>``.
        cfg_options (dict, optional): Overrides, ``{'train_cfg.max_iters': 100}``.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: For a misspelt setting, or a seed that is none.
    """
    if not os.path.isfile(config):
        raise FileNotFoundError(
            f'config={config!r}: no such file, expected one such as '
            'configs/res50_srp_affwild2.py; correct the path'
        )
    if launcher == 'none':
        os.environ.pop('WORLD_SIZE', None)  # of a cluster's login shell, not of this run
    elif launcher in WORLD_SIZE_OF:
        os.environ['WORLD_SIZE'] = os.environ[WORLD_SIZE_OF[launcher]]
    if launcher == 'pytorch':
        end_with_parent()
    cfg = Config.fromfile(config)
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    check_settings(cfg, cfg_options or ())
    seed = cfg.get('randomness', {}).get('seed')
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed <= MAX_SEED):
        raise ValueError(
            f'randomness.seed={seed!r}: expected a number in 0..{MAX_SEED}, or None for a random '
            'one; set randomness=dict(seed=...)'
        )
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(config).stem)
    compat.init_dist(launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
    return cfg


def end_with_parent() -> None:
    """Let the kernel end this process when the one that started it ends (Linux only).

    torchrun gives its processes sessions of their own: after a `kill -9` of all that a terminal
    or a sweep has started they would train on, and write where a resumed run writes, too.
    """
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def set_loader_flags(cfg: Config, pin_memory: bool, persistent_workers: bool) -> None:
    """Set two arguments of every data loader as the tools' flags say; pinning needs CUDA."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is None:
            continue
        loader.pin_memory = (
            loader.get('pin_memory', True) and pin_memory and (torch.cuda.is_available())
        )
        loader.persistent_workers = loader.get('persistent_workers', True) and (
            persistent_workers and loader.get('num_workers', 0) > 0
        )


def log_batch(cfg: Config) -> None:
    """One line on the batch over all processes, which the recipe counts on."""
    batch, world = cfg.train_dataloader.batch_size, get_world_size()
    total = world * batch
    unit = 'windows' if 'window' in cfg.train_dataloader.dataset else 'frames'
    line = f'batch: {world} x {batch} = {total} {unit} a step'
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size', total)
    if total == base:
        print_log(line, logger='current')
    else:
        print_log(
            f'{line}, the learning rate was chosen for {base}: --auto-scale-lr scales it, or set '
            f'train_dataloader.batch_size ({unit} a process)',
            logger='current',
            level=logging.WARNING,
        )
