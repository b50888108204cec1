"""Run on machines without CUDA, and choose the dtype of mixed precision for a device."""

import copy
import datetime
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.dist
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model.utils import _BatchNormXd
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, OPTIM_WRAPPERS
from torch import nn

# Each launcher's variables: those of torch.distributed, and what they are taken from.
LAUNCHERS = dict(
    none={},
    pytorch={name: name for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE')},
    slurm=dict(RANK='SLURM_PROCID', LOCAL_RANK='SLURM_LOCALID', WORLD_SIZE='SLURM_NTASKS'),
    mpi=dict(
        RANK='OMPI_COMM_WORLD_RANK',
        LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
    ),
)


def init_dist(launcher: str, **dist_cfg: Any) -> None:
    """Start a gloo group before the Runner where there is no CUDA.

    For all releases of mmengine, whose own ``init_dist`` calls ``torch.cuda.set_device``; the
    Runner leaves a group alone that is there. With CUDA this does nothing. May go when mmengine
    knows the CPU.

    Args:
        launcher (str): ``none``, ``pytorch`` (torchrun), ``slurm`` or ``mpi`` (Open MPI).
        **dist_cfg: As ``env_cfg.dist_cfg``: ``timeout`` (seconds), ``port`` (slurm), and further
            arguments of ``init_process_group``. ``backend`` is gloo here.

    Raises:
        ValueError: If the launcher is unknown, or did not set its variables.
    """
    if launcher not in LAUNCHERS:
        raise ValueError(
            f'launcher={launcher!r}: no such launcher, expected one of {", ".join(LAUNCHERS)}; '
            'correct --launcher'
        )
    if launcher == 'none' or torch.cuda.is_available() or mmengine.dist.is_distributed():
        return
    for name, source in LAUNCHERS[launcher].items():
        os.environ[name] = _from_environment(source, launcher)
    if 'port' in dist_cfg:
        os.environ['MASTER_PORT'] = str(dist_cfg['port'])
    os.environ.setdefault('MASTER_PORT', '29500')  # the default of torch.distributed
    if 'MASTER_ADDR' not in os.environ and launcher == 'slurm':
        os.environ['MASTER_ADDR'] = _first_slurm_node()
    _from_environment('MASTER_ADDR', launcher)
    options = {k: v for k, v in dist_cfg.items() if k not in ('backend', 'init_backend', 'port')}
    if options.get('timeout') is not None:
        options['timeout'] = datetime.timedelta(seconds=options['timeout'])
    torch.distributed.init_process_group('gloo', **options)


def _from_environment(name: str, launcher: str) -> str:
    if name not in os.environ:
        raise ValueError(
            f'launcher={launcher!r}: got no {name} in the environment, which this launcher needs; '
            'start with torchrun (tools/dist_train.sh), srun (tools/slurm_train.sh) or `mpirun -x '
            'MASTER_ADDR=<first host>`, or use --launcher none'
        )
    return os.environ[name]


def _first_slurm_node() -> str:
    command = ['scontrol', 'show', 'hostname', _from_environment('SLURM_NODELIST', 'slurm')]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise ValueError(
            f"launcher='slurm': got {error!r} from `{' '.join(command)}`, expected the names of "
            'the nodes; set MASTER_ADDR to the first one'
        ) from error


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on the CPU: the forward pass in bfloat16, the weights in float32.

    For all releases of mmengine, whose ``AmpOptimWrapper`` insists on an accelerator. bfloat16
    has float32's range of exponents, so that no loss is scaled; ``backward`` and ``step`` run
    outside autocast. Arguments as for ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and leave gradients unsynchronised while they accumulate."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


def adapt_cfg_to_cpu(cfg: Config, launcher: str) -> Config:
    """Fit a config to a machine without CUDA; with CUDA it is returned as it is.

    For all releases: BN for SyncBN, which refuses the CPU's tensors; DDP without device ids; bf16
    without loss scaling for fp16 (``test_cfg.fp16`` is bf16 in mmengine already); gloo for nccl.
    One warning a change tells of the first and the third, which are not quite the same training.

    Args:
        cfg (Config): Of a Runner; left as it is.
        launcher (str): ``none`` for a single process.

    Returns:
        Config: Its copy for the CPU.
    """
    if torch.cuda.is_available():
        return cfg
    cfg = copy.deepcopy(cfg)
    if _replace_sync_bn(cfg._cfg_dict) + (cfg.pop('sync_bn', None) is not None):
        _warn('No CUDA: BN takes the place of SyncBN, each process has statistics of its own')
    # Some of mmpretrain's necks have SyncBN as their default, and give it vectors, too.
    MODELS.register_module('SyncBN', module=_BatchNormXd, force=True)
    if launcher != 'none':
        own = cfg.get('model_wrapper_cfg') or dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        cfg.model_wrapper_cfg = dict(own, device_ids=None)
    wrapper = cfg.get('optim_wrapper') or {}
    if _type_name(wrapper.get('type')) == 'AmpOptimWrapper':
        wrapper.type = 'CPUAmpOptimWrapper'
        dropped = [
            f'{key}={wrapper.pop(key)!r}'
            for key in ('loss_scale', 'dtype', 'use_fsdp')
            if key in wrapper
        ]
        _warn(
            'No CUDA: CPUAmpOptimWrapper (bfloat16, no loss scaling) takes the place of '
            f'AmpOptimWrapper({", ".join(dropped)})'
        )
    cfg.merge_from_dict(dict(env_cfg=dict(cudnn_benchmark=False, dist_cfg=dict(backend='gloo'))))
    return cfg


def _replace_sync_bn(node: Any) -> int:
    """Turn ``type='SyncBN'`` into BN wherever it is; returns how often."""
    if isinstance(node, (list, tuple)):
        return sum(_replace_sync_bn(child) for child in node)
    if not isinstance(node, dict):
        return 0
    replaced = _type_name(node.get('type')) in ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')
    if replaced:
        node['type'] = 'BN'
    return replaced + sum(_replace_sync_bn(child) for child in node.values())


def _type_name(type_: Any) -> str:
    """Name of a registered type, given as a class or as a name that may have a scope."""
    return type_.__name__ if isinstance(type_, type) else str(type_).split('.')[-1]


def _warn(line: str) -> None:
    print_log(line, logger='current', level=logging.WARNING)


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """The type for autocast on a device, None where float32 is best.

    bfloat16 where the device computes in it, as it needs no loss scaling; else float16 on GPUs. A
    CPU without instructions for bfloat16 would only emulate it.

    >>> amp_dtype(torch.device('meta')) is None
    True
    """
    if device.type == 'cuda':
        # Ampere and later: earlier GPUs emulate bfloat16, and is_bf16_supported() counts that.
        fast = torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if fast else torch.float16
    if device.type == 'cpu' and _cpu_has_bfloat16():
        return torch.bfloat16
    return None


def _cpu_has_bfloat16() -> bool:
    names = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')  # not in torch before 2.5
    return any(getattr(torch.cpu, name, bool)() for name in names)
