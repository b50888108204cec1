"""The distance between OpenMMLab's frozen releases and today's PyTorch, in one place.

Each function mends one thing and says for which version; nothing else in the package knows of it.
Two stacks are supported: OpenMMLab's last releases (mmengine 0.10.7, mmcv-lite 2.2.0, mmpretrain
1.2.0) and their continuation onedl-mmengine 0.10.12 and onedl-mmpretrain 1.3.6.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

# Import name, smallest version, first version that is too new, what to install.
REQUIREMENTS = (
    ('torch', '2.0', None, 'torch>=2.0'),
    ('numpy', '1.23', None, 'numpy>=1.23'),
    ('PIL', '9.0', None, 'pillow>=9.0'),
    ('mmengine', '0.10.4', '1.0', 'mmengine>=0.10.4,<1.0'),
    ('mmcv', '2.0.0', '2.4.0', 'mmcv-lite>=2.0.0,<2.4.0'),
)
# Importing mmpretrain needs what apply() mends; its version is read from the file beside it.
MMPRETRAIN = ('mmpretrain', '1.2.0', '2.0', 'mmpretrain>=1.2.0,<2.0')


# -------------------------------------------------------------------------------- versions


def _release(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: '2.13.0+cpu' -> (2, 13, 0)."""
    return tuple(int(part) for part in re.match(r'\d+(\.\d+)*', version).group().split('.'))


def check_version(name: str, version: str | None, low: str, high: str | None, pip: str) -> None:
    """Raise ImportError with the line that mends it, if a version (None: missing) does not fit."""
    fits = version is not None and _release(version) >= _release(low) and (
        high is None or _release(version) < _release(high)
    )
    if not fits:
        wanted = f'>={low}' + (f',<{high}' if high else '')
        raise ImportError(
            f'abaw_mm: got {name} {version or "that is not installed"}, expected {wanted}; '
            f'run `pip install "{pip}"`, or take all of requirements/openmmlab.txt'
        )


def check_versions() -> None:
    """Check what is imported, whatever the distribution is called, against what we support.

    Raises:
        ImportError: Naming the package, its version, the range and the pip line.
    """
    for name, low, high, pip in REQUIREMENTS:
        try:
            version = importlib.import_module(name).__version__
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            version = None
        check_version(name, version, low, high, pip)
    name, low, high, pip = MMPRETRAIN
    spec = importlib.util.find_spec(name)
    version = None
    if spec is not None:
        text = Path(spec.origin).with_name('version.py').read_text(encoding='utf-8')
        version = re.search(r"__version__ = '(.+?)'", text).group(1)
    check_version(name, version, low, high, pip)


_applied = False
_torchvision_library: Any = None  # torch drops the definitions with the object


def apply() -> None:
    """Mend what an import of mmpretrain and a run need; a second call does nothing."""
    global _applied
    if not _applied:
        mend_torchvision()
        mend_in1d()
        mend_package_utils()
        mend_adjust_hue()
        mend_adjust_bbox()
        mend_checkpoint_loading()
        mend_resume()
        register_cpu_amp()
        _applied = True


# ------------------------------------------------------------------------- import-time mendings


def mend_torchvision() -> None:
    """Let torchvision import beside a torch of another build.

    For torchvision built for CUDA beside torch for the CPU (0.28.0 with 2.13.0+cpu): its compiled
    operators do not load, and registering fake versions of nms fails with *operator
    torchvision::nms does not exist*. mmpretrain needs only the Python transforms. Declaring both
    operators is enough; calling them still fails. May go when both come from one index.
    """
    global _torchvision_library
    try:
        importlib.import_module('torchvision')
    except RuntimeError as error:
        if 'torchvision::' not in str(error):
            raise
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        _torchvision_library = torch.library.Library('torchvision', 'DEF')
        for operator in ('nms', 'qnms'):
            _torchvision_library.define(
                f'{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
            )
        importlib.import_module('torchvision')


def mend_in1d() -> None:
    """Give NumPy its ``in1d`` back: NumPy 2.4 removed it, mmpretrain's retrieval metric calls it.

    The name is set on the module because the metric looks it up there at each call.
    """
    if not hasattr(np, 'in1d'):
        np.in1d = lambda ar1, ar2, **kwargs: np.isin(np.ravel(ar1), ar2, **kwargs)


def is_installed(package: str) -> bool:
    """mmengine's function of this name, without ``pkg_resources``."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """mmengine's function of this name, without ``pkg_resources``: the folder of a package."""
    from mmengine.utils.package_utils import package2module

    module = package
    if importlib.util.find_spec(package) is None:
        module = package2module(package)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f'{package} is not installed as a package with files, expected one; run '
            f'`pip install {package}`'
        )
    return str(Path(spec.origin).parent)


def _package2module(package: str) -> str:
    """mmengine's function of this name, without ``pkg_resources``."""
    text = importlib.metadata.distribution(package).read_text('top_level.txt')
    if not text:
        raise ValueError(f'cannot infer the module name of {package}: no top_level.txt')
    return text.split('\n')[0]


def mend_package_utils() -> None:
    """Let mmengine 0.10 find packages (``_base_ = 'mmpretrain::...'``).

    setuptools 82 removed ``pkg_resources``; onedl-mmengine does not use it any more.
    """
    if importlib.util.find_spec('pkg_resources') is not None:
        return
    mendings = dict(
        is_installed=is_installed, get_installed_path=get_installed_path,
        package2module=_package2module
    )
    replace_everywhere('mmengine.utils.package_utils', mendings, within='mmengine')


def replace_everywhere(module: str, functions: dict[str, Any], within: str) -> None:
    """Replace functions in their module and wherever a package has imported them by name."""
    home = importlib.import_module(module)
    olds = {name: getattr(home, name) for name in functions}
    for name, loaded in list(sys.modules.items()):
        if not isinstance(loaded, ModuleType) or name.split('.')[0] != within:
            continue
        for attribute, new in functions.items():
            if vars(loaded).get(attribute) is olds[attribute]:
                setattr(loaded, attribute, new)


def mend_adjust_hue() -> None:
    """Let ``ColorJitter`` shift hue down.

    mmcv 2.2's ``adjust_hue`` calls ``np.uint8`` with a negative shift, which NumPy 2 refuses.
    Hue is a circle: a shift h below 0 equals h + 1, which the function's own range check would
    refuse, so the shift is made here for the OpenCV backend in the function's own steps.
    """
    import mmcv
    from mmcv.image import photometric

    original = photometric.adjust_hue

    def adjust_hue(img: np.ndarray, hue_factor: float, backend: str | None = None) -> np.ndarray:
        chosen = backend or photometric.imread_backend or 'cv2'
        if chosen != 'cv2' or not -0.5 <= hue_factor < 0 or not isinstance(img, np.ndarray):
            return original(img, hue_factor, backend)
        import cv2

        dtype = img.dtype
        hue, saturation, value = cv2.split(cv2.cvtColor(img.astype(np.uint8), cv2.COLOR_RGB2HSV_FULL))
        hue = ((hue.astype(np.int16) + int(hue_factor * 255)) % 256).astype(np.uint8)
        shifted = cv2.merge([hue, saturation, value])
        return cv2.cvtColor(shifted, cv2.COLOR_HSV2RGB_FULL).astype(dtype)

    adjust_hue.__doc__ = original.__doc__
    del mmcv
    replace_everywhere('mmcv.image.photometric', dict(adjust_hue=adjust_hue), within='mmcv')


def mend_adjust_bbox() -> None:
    """Let mmpretrain's ``browse_dataset.py`` crop its figure.

    matplotlib 3.11's private ``adjust_bbox`` wants a renderer; the tool calls it without one.
    """
    import inspect

    try:
        from matplotlib import _tight_bbox
    except ImportError:  # an older matplotlib, whose function the tool was written for
        return
    original = _tight_bbox.adjust_bbox
    parameters = inspect.signature(original).parameters
    if 'renderer' not in parameters or (
        parameters['renderer'].default is not inspect.Parameter.empty
    ):
        return

    def adjust_bbox(fig: Any, bbox_inches: Any, renderer: Any = None, **kwargs: Any) -> Any:
        renderer = fig.canvas.get_renderer() if renderer is None else renderer
        return original(fig, bbox_inches, renderer=renderer, **kwargs)

    _tight_bbox.adjust_bbox = adjust_bbox


# ------------------------------------------------------------------------------- checkpoints


class UnsafeCheckpointError(pickle.UnpicklingError):
    """A checkpoint asks for a type that could run code."""


def _getattr_of_known_methods(owner: type, name: str) -> Any:
    """Stand-in for ``builtins.getattr`` in old checkpoints: these classes' own methods only."""
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    allowed = {
        HistoryBuffer: ('min', 'max', 'mean', 'current'),
        OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
    }
    if not isinstance(owner, type) or name not in allowed.get(owner, ()):
        raise UnsafeCheckpointError(f'getattr({owner!r}, {name!r})')
    return getattr(owner, name)


def safe_globals() -> list:
    """The types that a checkpoint may name beside torch's own; no other is ever loaded.

    mmengine's Runner stores ``HistoryBuffer`` (the log), ``OneCycleParamScheduler`` and NumPy
    numbers; NumPy's names differ between its versions 1 and 2, so both are listed.
    """
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    core = importlib.import_module('numpy._core' if hasattr(np, '_core') else 'numpy.core')
    multiarray = importlib.import_module(f'{core.__name__}.multiarray')
    allowed: list = [HistoryBuffer, OneCycleParamScheduler, np.ndarray, np.dtype]
    numbers = 'bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64'
    allowed += sorted({type(np.dtype(getattr(np, x))) for x in numbers.split()}, key=str)
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        for name in ('_reconstruct', 'scalar'):
            allowed.append((getattr(multiarray, name), f'{module}.{name}'))
    allowed.append((_getattr_of_known_methods, 'builtins.getattr'))
    return allowed


@contextlib.contextmanager
def _allowing_safe_globals() -> Iterator[None]:
    """torch's own context, in which a name may differ from where the object is today."""
    serialization = torch.serialization
    if hasattr(serialization, 'safe_globals') and _release(torch.__version__) >= (2, 6):
        with serialization.safe_globals(safe_globals()):
            yield
    else:  # older: no other names; checkpoints of its own mmengine may then be refused, not run
        yield


def load_checkpoint_file(filename: str | os.PathLike, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint as data: ``weights_only=True`` and :func:`safe_globals`, always.

    There is no fall-back and no switch that weakens this. mmengine's own loading goes through
    here, too (:func:`mend_checkpoint_loading`).

    Args:
        filename: Path, or an http(s) URL, which is downloaded into torch hub's folder first.
        map_location: As in ``torch.load``.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If it asks for another type, with the type's name.
        ValueError: If it is empty, cut off, or no checkpoint.
    """
    name = str(filename)
    if name.startswith(('http://', 'https://')):
        name = _download(name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{filename}: no such file, expected a checkpoint; correct the path')
    if path.stat().st_size == 0:
        raise ValueError(f'{filename}: the file is empty, expected a checkpoint; download it again')
    try:
        with _allowing_safe_globals():
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, IndexError,
            AttributeError, UnicodeDecodeError, TypeError) as error:
        raise _explain(filename, path, error) from None
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{filename}: got a {type(checkpoint).__name__}, expected a dict of tensors; save '
            "model.state_dict() and not the model"
        )
    return checkpoint


def _explain(filename: str | os.PathLike, path: Path, error: Exception) -> Exception:
    """What a failed reading means for the one who gave the file."""
    text = str(error)
    blocked = re.search(
        r'(?:GLOBAL|instance of|call to|class|function) (?:of type )?[`\'"]?'
        r'((?:[\w]+\.)+[\w]+)[`\'"]?(?: was not|, which| is not| with|,|\.| )', text
    )
    if isinstance(error, UnsafeCheckpointError) or 'Unsupported' in text or 'Trying to' in text:
        name = blocked.group(1) if blocked else text.split('\n')[-1][:200]
        return UnsafeCheckpointError(
            f'{filename} asks for {name}, which is not on the list of safe types; a checkpoint is '
            'read as data and never run. Save only its tensors (state_dict) again where you trust '
            'it, and give that file'
        )
    return ValueError(
        f'{filename}: not a whole checkpoint ({path.stat().st_size} bytes; '
        f'{type(error).__name__}: {text.splitlines()[0][:150] if text else "no detail"}), expected '
        'a file that torch.save wrote; download it again'
    )


def _download(url: str) -> str:
    """Fetch a file into torch hub's folder, on the first process of each machine; its path."""
    from mmengine.dist import barrier, get_local_rank

    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    target = folder / Path(url.split('?')[0]).name
    if get_local_rank() == 0 and not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), progress=False)  # moves it whole
    barrier()
    return str(target)


def mend_checkpoint_loading() -> None:
    """Send mmengine's loading of files and URLs through :func:`load_checkpoint_file`.

    mmengine 0.10.7 takes torch's default (unsafe before torch 2.6, and always for URLs) and cannot
    read its own checkpoints from 2.6 on; onedl-mmengine 0.10.12 falls back to unsafe loading by
    itself. Model-zoo names (``torchvision://``, ``open-mmlab://``, ...) end in one of both; for
    petrel and pavi ``torch.load`` inside mmengine's module is replaced by a strict one.
    """
    from mmengine.runner import checkpoint

    def load_from_local(filename: str, map_location: Any = None) -> dict:
        return load_checkpoint_file(filename, map_location)

    def load_from_http(filename: str, map_location: Any = None, **_: Any) -> dict:
        return load_checkpoint_file(filename, map_location)

    def strict_load(file: Any, map_location: Any = None, **_: Any) -> dict:
        if isinstance(file, (str, os.PathLike)):
            return load_checkpoint_file(file, map_location)
        with _allowing_safe_globals():
            return torch.load(file, map_location=map_location, weights_only=True)

    class StrictTorch:
        """``torch`` for mmengine's module, with a ``load`` that never runs code."""

        load = staticmethod(strict_load)

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    loader = checkpoint.CheckpointLoader
    loader.register_scheme(prefixes='', loader=load_from_local, force=True)
    loader.register_scheme(prefixes=('http://', 'https://'), loader=load_from_http, force=True)
    checkpoint.load_from_local, checkpoint.load_from_http = load_from_local, load_from_http
    checkpoint.torch = StrictTorch()
    checkpoint.load_url = load_from_http
    if hasattr(checkpoint, '_safe_torch_load'):  # onedl's, whose fall-back is unsafe
        checkpoint._safe_torch_load = strict_load


# ------------------------------------------------------------------------------------- resume


class _ResumedIterator:
    """A loop's iterator over its data that passes ``steps`` steps without reading a frame."""

    def __init__(self, dataloader: Any, steps: int) -> None:
        self.dataloader, self.steps, self.iterator = dataloader, steps, None

    def __iter__(self) -> '_ResumedIterator':
        return self

    def __next__(self) -> Any:
        if self.steps > 0:
            self.steps -= 1
            return None
        if self.iterator is None:
            from mmengine.runner.loops import _InfiniteDataloaderIterator

            self.iterator = _InfiniteDataloaderIterator(self.dataloader)
        return next(self.iterator)


def mend_resume() -> None:
    """Resume an iteration-based training without decoding again what it has read.

    mmengine 0.10.7's loop replays all steps before the checkpoint. Where the sampler can ``skip``,
    it does so here; onedl-mmengine 0.10.12 does it itself (its iterator has ``skip_iter``).
    """
    from mmengine.runner import loops

    if hasattr(loops._InfiniteDataloaderIterator, 'skip_iter'):
        return
    original = loops.IterBasedTrainLoop.run

    def run(self: Any) -> Any:
        sampler = getattr(self.dataloader, 'sampler', None)
        if self._iter > 0 and hasattr(sampler, 'skip') and self.dataloader.batch_size:
            sampler.skip(self._iter * self.dataloader.batch_size)
            self.dataloader_iterator = _ResumedIterator(self.dataloader, self._iter)
        return original(self)

    loops.IterBasedTrainLoop.run = run


# --------------------------------------------------------------------------------- without CUDA


def init_dist(launcher: str, **dist_cfg: Any) -> None:
    """Start a gloo group where there is no CUDA; with CUDA mmengine starts its own.

    mmengine 0.10's ``init_dist`` calls ``torch.cuda.set_device`` for every launcher. The Runner
    leaves a group alone that is there already.

    Args:
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``; the environment is that of mmengine.
        dist_cfg: ``env_cfg.dist_cfg``; ``port`` and ``timeout`` are used.
    """
    if launcher == 'none' or torch.cuda.is_available() or torch.distributed.is_initialized():
        return
    environment = os.environ
    if launcher == 'slurm':
        if 'MASTER_ADDR' not in environment:
            hosts = subprocess.run(
                ['scontrol', 'show', 'hostname', environment['SLURM_NODELIST']],
                check=True, text=True, stdout=subprocess.PIPE
            ).stdout.split()
            environment['MASTER_ADDR'] = hosts[0]
        environment.update(
            WORLD_SIZE=environment['SLURM_NTASKS'], RANK=environment['SLURM_PROCID'],
            LOCAL_RANK=environment.get('SLURM_LOCALID', '0')
        )
    elif launcher == 'mpi':
        environment.update(
            WORLD_SIZE=environment['OMPI_COMM_WORLD_SIZE'],
            RANK=environment['OMPI_COMM_WORLD_RANK'],
            LOCAL_RANK=environment['OMPI_COMM_WORLD_LOCAL_RANK']
        )
    if 'port' in dist_cfg:
        environment['MASTER_PORT'] = str(dist_cfg['port'])
    environment.setdefault('MASTER_PORT', '29500')
    kwargs = {key: value for key, value in dist_cfg.items() if key == 'timeout'}
    torch.distributed.init_process_group('gloo', **kwargs)


def register_cpu_amp() -> None:
    """Register ``CPUAmpOptimWrapper``: mmengine's ``AmpOptimWrapper`` asserts an accelerator."""
    from mmengine.optim import OptimWrapper
    from mmengine.registry import OPTIM_WRAPPERS

    class CPUAmpOptimWrapper(OptimWrapper):
        """Forward in bf16, the CPU's autocast type, whose range needs no loss scaling."""

        @contextlib.contextmanager
        def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
            with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
                yield

    OPTIM_WRAPPERS.register_module(module=CPUAmpOptimWrapper, force=True)


def _sync_bn_to_bn(node: Any) -> int:
    """Replace SyncBN in a config, in place; how often."""
    if isinstance(node, dict):
        found = int(node.get('type') == 'SyncBN')
        if found:
            node['type'] = 'BN'
        return found + sum(_sync_bn_to_bn(value) for value in node.values())
    if isinstance(node, (list, tuple)):
        return sum(_sync_bn_to_bn(value) for value in node)
    return 0


def adapt_cfg_to_cpu(cfg: Any, launcher: str) -> Any:
    """Fit a config to a machine without CUDA; with CUDA nothing changes.

    SyncBN becomes BN (it refuses CPU tensors), DDP gets ``device_ids=None`` (mmengine passes the
    rank of a GPU), ``AmpOptimWrapper`` becomes ``CPUAmpOptimWrapper``. One line tells each of the
    replacements.
    """
    from mmengine.logging import print_log

    if torch.cuda.is_available():
        return cfg
    replaced = _sync_bn_to_bn(cfg.get('model'))
    if cfg.get('sync_bn'):
        cfg.sync_bn = None
        replaced += 1
    if replaced:
        print_log('No CUDA: SyncBN becomes BN, each process has its own statistics.',
                  logger='current', level=logging.WARNING)
    if launcher != 'none':
        wrapper = dict(
            type='MMDistributedDataParallel', broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False)
        )
        wrapper.update(cfg.get('model_wrapper_cfg') or {})
        wrapper['device_ids'] = None
        cfg.model_wrapper_cfg = wrapper
        cfg.setdefault('env_cfg', {}).setdefault('dist_cfg', {})['backend'] = 'gloo'
    optim = cfg.get('optim_wrapper')
    if optim is not None and optim.get('type') == 'AmpOptimWrapper':
        optim['type'] = 'CPUAmpOptimWrapper'
        for name in ('loss_scale', 'dtype', 'use_fsdp'):
            optim.pop(name, None)
        print_log('No CUDA: mixed precision is bf16 without loss scaling.',
                  logger='current', level=logging.WARNING)
    return cfg
