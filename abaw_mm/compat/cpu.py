"""Train and test without CUDA, and choose the dtype of mixed precision for a device."""

import copy
import datetime
import gc
import logging
import os
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.dist
import torch
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model.utils import _BatchNormXd
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, OPTIM_WRAPPERS
from torch import nn

from abaw_mm.errors import InvalidValueError, LostProcessError

GLOO = 'gloo/transport/'  # in the messages of its errors: the file that raised it
# For each launcher: the environment variables of torch.distributed, and those that hold the values.
LAUNCHERS: dict[str, dict[str, str]] = dict(
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
    """Initialize the process group: with gloo if there is no CUDA, otherwise as mmengine does.

    mmengine's own ``init_dist`` calls ``torch.cuda.set_device`` in every release. The Runner keeps
    a group that is already initialized, so call this first.

    Args:
        launcher (str): ``none``, ``pytorch`` (torchrun), ``slurm`` or ``mpi`` (Open MPI).
        **dist_cfg: The entries of ``env_cfg.dist_cfg``: ``timeout`` (seconds), ``port`` (slurm) and
            other arguments of ``init_process_group``. Without CUDA ``backend`` is ignored.

    Raises:
        InvalidValueError: If the launcher is unknown or did not set its environment variables.
    """
    set_dist_environment(launcher, dist_cfg.get('port'))
    if launcher == 'none' or mmengine.dist.is_distributed():
        return
    if torch.cuda.is_available():
        if mp.get_start_method(allow_none=True) is None:
            mp.set_start_method('fork')  # of the configs; mmengine would set spawn
        if launcher != 'slurm':
            dist_cfg.pop('port', None)  # the others have no such argument
        mmengine.dist.init_dist(launcher, **dist_cfg)
        return
    options = {k: v for k, v in dist_cfg.items() if k not in ('backend', 'init_backend', 'port')}
    if options.get('timeout') is not None:
        options['timeout'] = datetime.timedelta(seconds=options['timeout'])
    torch.distributed.init_process_group('gloo', **options)


def set_dist_environment(launcher: str, port: int | None = None) -> None:
    """Set the environment variables of torch.distributed from those of the launcher.

    Args:
        launcher (str): ``none``, ``pytorch`` (torchrun), ``slurm`` or ``mpi`` (Open MPI).
        port (int, optional): ``MASTER_PORT``. Defaults to that of the environment, or 29500.

    Raises:
        InvalidValueError: If the launcher is unknown or did not set its environment variables.
    """
    if launcher not in LAUNCHERS:
        raise InvalidValueError(
            f'--launcher: got {launcher!r}, expected one of {", ".join(LAUNCHERS)}; correct it'
        )
    if launcher == 'none' or mmengine.dist.is_distributed():
        return
    for name, source in LAUNCHERS[launcher].items():
        os.environ[name] = _read_variable(source, launcher)
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')  # the default of torch.distributed
    if 'MASTER_ADDR' not in os.environ and launcher == 'slurm':
        os.environ['MASTER_ADDR'] = _find_first_slurm_node()
    _read_variable('MASTER_ADDR', launcher)


@contextmanager
def end_process_group() -> Iterator[None]:
    """Destroy the process group that the block initializes, however the block ends.

    The threads of a group end when nothing refers to it. One that still frees the tensors of an
    operation when Python ends aborts the process ("terminate called without an active exception").
    DDP refers to the group and a Runner to itself, so unreachable objects are freed, too, and the
    local variables of the functions that raised an error. A group that was initialized before the
    block remains.

    Raises:
        LostProcessError: If an operation failed because another process ended.
    """
    was_initialized = torch.distributed.is_initialized()
    try:
        with _explain_lost_process():
            yield
    except BaseException as error:
        if not was_initialized and torch.distributed.is_initialized():
            _clear_frames(error)
        raise
    finally:
        if not was_initialized and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
            gc.collect()


@contextmanager
def _explain_lost_process() -> Iterator[None]:
    """Replace the errors of torch.distributed and gloo, which have no class of their own."""
    try:
        yield
    except RuntimeError as error:
        text, at, reason = str(error).partition(GLOO)
        if not at and not isinstance(error, torch.distributed.DistError):
            raise
        line = (reason.partition('] ')[2] if at else text).split('\n')[0].split('. ')[0]
        raise LostProcessError(
            f'another process of this run ended or cannot be reached: got {line!r}, expected all '
            'processes until the end; the output of the other processes says why. Start all nodes '
            'again, a training with --resume'
        ) from error


def _clear_frames(error: BaseException | None) -> None:
    """Clear the local variables of the functions that an error and its causes have left."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _read_variable(name: str, launcher: str) -> str:
    if name not in os.environ:
        raise InvalidValueError(
            f'--launcher {launcher}: got no {name} in the environment, expected the launcher to '
            'set it; start with torchrun (tools/dist_train.sh), srun (tools/slurm_train.sh) or '
            '`mpirun -x MASTER_ADDR=<first host>`, or use --launcher none'
        )
    return os.environ[name]


def _find_first_slurm_node() -> str:
    command = ['scontrol', 'show', 'hostname', _read_variable('SLURM_NODELIST', 'slurm')]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise InvalidValueError(
            f'--launcher slurm: got {error!r} from `{" ".join(command)}`, expected the names of '
            'the nodes; set MASTER_ADDR to the first node'
        ) from error


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on the CPU: forward pass in bfloat16, weights in float32.

    mmengine's ``AmpOptimWrapper`` needs an accelerator in every release. bfloat16 has the exponent
    range of float32, so the loss is not scaled. ``backward`` and ``step`` run outside autocast. The
    arguments are those of ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and skip gradient synchronization while gradients accumulate."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


def adapt_cfg_to_cpu(cfg: Config, launcher: str) -> Config:
    """Adapt a config to a machine without CUDA. With CUDA, return the config unchanged.

    - SyncBN, which needs CUDA, becomes BN.
    - DDP gets no device ids.
    - fp16 training becomes bfloat16 without loss scaling (``test_cfg.fp16`` is bfloat16 already).
    - The backend nccl becomes gloo.

    The first and the third change the training and are logged as a warning.

    Args:
        cfg (Config): Config of a Runner. It is not modified.
        launcher (str): Launcher of the processes, ``none`` for a single process.

    Returns:
        Config: An adapted copy.
    """
    if torch.cuda.is_available():
        return cfg
    cfg = copy.deepcopy(cfg)
    _adapt_sync_bn(cfg)
    if launcher != 'none':
        _adapt_ddp(cfg)
    _adapt_amp(cfg)
    cfg.merge_from_dict(dict(env_cfg=dict(cudnn_benchmark=False, dist_cfg=dict(backend='gloo'))))
    return cfg


def _adapt_sync_bn(cfg: Config) -> None:
    """Replace SyncBN by BN in the config and in the registry."""
    converts_model = cfg.pop('sync_bn', None) is not None
    if _replace_sync_bn(cfg._cfg_dict) or converts_model:
        _warn('No CUDA: SyncBN is replaced by BN, each process has its own statistics')
    # Some necks of mmpretrain have SyncBN as their default and apply it to vectors, too.
    MODELS.register_module('SyncBN', module=_BatchNormXd, force=True)


def _replace_sync_bn(node: Any) -> int:
    """Replace ``type='SyncBN'`` by BN in a nested config, and return the number of replacements."""
    if isinstance(node, (list, tuple)):
        return sum(_replace_sync_bn(child) for child in node)
    if not isinstance(node, dict):
        return 0
    is_sync_bn = _get_type_name(node.get('type')) in ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')
    if is_sync_bn:
        node['type'] = 'BN'
    return is_sync_bn + sum(_replace_sync_bn(child) for child in node.values())


def _adapt_ddp(cfg: Config) -> None:
    """Wrap the model in DDP without device ids."""
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


def _adapt_amp(cfg: Config) -> None:
    """Replace ``AmpOptimWrapper`` by :class:`CPUAmpOptimWrapper`."""
    wrapper = cfg.get('optim_wrapper') or {}
    if _get_type_name(wrapper.get('type')) != 'AmpOptimWrapper':
        return
    wrapper['type'] = 'CPUAmpOptimWrapper'
    dropped = [
        f'{key}={wrapper.pop(key)!r}'
        for key in ('loss_scale', 'dtype', 'use_fsdp')
        if key in wrapper
    ]
    _warn(
        f'No CUDA: AmpOptimWrapper({", ".join(dropped)}) is replaced by CPUAmpOptimWrapper '
        '(bfloat16, no loss scaling)'
    )


def _get_type_name(type_: Any) -> str:
    """Return the name of a registered type, given as a class or as a name with or without scope."""
    return type_.__name__ if isinstance(type_, type) else str(type_).split('.')[-1]


def _warn(line: str) -> None:
    print_log(line, logger='current', level=logging.WARNING)


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """Return the dtype for autocast on a device, None where float32 is faster.

    bfloat16 if the device computes in it, since it needs no loss scaling; otherwise float16 on
    GPUs. A CPU without bfloat16 instructions would only emulate it.

    >>> amp_dtype(torch.device('meta')) is None
    True
    """
    if device.type == 'cuda':
        # Ampere and later. Earlier GPUs emulate bfloat16, which is_bf16_supported() accepts.
        has_bfloat16 = torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if device.type == 'cpu' and _has_cpu_bfloat16():
        return torch.bfloat16
    return None


def _has_cpu_bfloat16() -> bool:
    names = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')  # not in torch before 2.5
    return any(getattr(torch.cpu, name, bool)() for name in names)
