"""The only place that knows how far OpenMMLab's frozen releases are from today's stack.

Each mending is one function that first looks whether it is needed, so that it does nothing on
releases that mend it themselves, such as the ``onedl-*`` continuation. Its docstring says which
release it is for and when it may go; ``tests/test_compat.py`` has a test for each.
"""

import copy
import datetime
import importlib.util
import inspect
import itertools
import logging
import os
import pickle
import pickletools
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

# Module: lowest version, first version too new (None: any), what pip calls it. The module's own
# version counts: the onedl-* continuation has the same modules under other names at the index.
SUPPORTED = {
    'torch': ('2.4', None, 'torch'),  # fused SGD on the CPU
    'numpy': ('1.23', None, 'numpy'),
    'PIL': ('9.1', None, 'pillow'),
    'mmengine': ('0.10.4', '0.12', 'mmengine'),
    'mmcv': ('2.0', '2.4', 'mmcv-lite'),
    'mmpretrain': ('1.2', '1.4', 'mmpretrain'),
    'safetensors': ('0.4', None, 'safetensors'),
}


def check_versions() -> None:
    """Check that the stack is one that this package was made for.

    Raises:
        ImportError: If a package is missing or out of :data:`SUPPORTED`, with the mending command.
    """
    for name, (lowest, too_new, package) in SUPPORTED.items():
        got = _version_of(name)
        if (
            got is not None
            and _release(got) >= _release(lowest)
            and (too_new is None or _release(got) < _release(too_new))
        ):
            continue
        wanted = f'>={lowest}' + (f',<{too_new}' if too_new else '')
        raise ImportError(
            f'abaw_mm does not run with this {name}: got {got or "none installed"}, expected '
            f"{wanted}; mend it with `pip install '{package}{wanted}'`, or install "
            'requirements/openmmlab.txt or requirements/onedl.txt in a fresh environment',
            name=name,
        )


def _release(version: str) -> tuple[int, ...]:
    # packaging would do it, but comes with mmengine, which may be what is missing.
    return tuple(int(number) for number in re.match(r'\d+(\.\d+)*', version)[0].split('.'))


def _version_of(name: str) -> str | None:
    """``__version__`` of a module, None if there is no such module."""
    if name == 'mmpretrain':
        # Its import asserts mmcv's version in its own words: read the version without it.
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).with_name('version.py')
        spec = importlib.util.spec_from_file_location('_mmpretrain_version', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.__version__
    try:
        return import_module(name).__version__
    except ModuleNotFoundError as error:
        if error.name != name:  # it is there, and lacks something else
            raise
        return None


check_versions()  # before the imports below, which would fail without saying how to mend it

# ruff: noqa: E402
import mmcv
import mmengine.dist
import mmengine.utils.package_utils
import numpy as np
import safetensors
import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model.utils import _BatchNormXd
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.registry import MODELS, OPTIM_WRAPPERS
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import loops
from torch import nn


def apply() -> None:
    """Mend what today's stack needs before mmpretrain is imported; again has no effect."""
    mend_torchvision_import()
    mend_package_lookup()
    mend_negative_hue()
    mend_adjust_bbox()
    mend_lite_warning()
    mend_import_on_stdout()  # the first to import mmpretrain, after what its import needs
    mend_checkpoint_loading()
    mend_resume()
    mend_retrieval_metric()


# Import-time mendings


class _Overlay(ModuleType):
    """A module as one other module sees it, with some of its names replaced."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(names, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _rebind(old: Callable, new: Callable) -> None:
    """Put a function in another's place in all OpenMMLab modules that have imported it by name."""
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] in ('mmcv', 'mmengine', 'mmpretrain'):
            if vars(module).get(old.__name__) is old:
                setattr(module, old.__name__, new)


def mend_torchvision_import() -> None:
    """Let torchvision be imported where its wheel and torch's were built for different devices.

    For torchvision 0.28 from the index (CUDA) beside torch 2.13 for the CPU: its compiled
    operators do not load, and ``import torchvision`` fails where it describes them to torch.
    mmpretrain takes only Python transforms from it. May go when torchvision tests for the
    operators before it describes them.

    Raises:
        ImportError: If torchvision is not installed.
    """
    try:
        import_module('torchvision')
    except ModuleNotFoundError as error:
        if error.name != 'torchvision':
            raise
        raise ImportError(
            'abaw_mm needs torchvision, for its transforms: got none installed, expected the '
            'release that goes with torch (0.28 with 2.13); mend it with `pip install torchvision`',
            name='torchvision',
        ) from None
    except RuntimeError as error:
        if 'operator torchvision::' not in str(error):
            raise
        for operator in ('nms', 'qnms'):
            torch.library.define(
                f'torchvision::{operator}',
                '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
            )
        import_module('torchvision')


def mend_package_lookup() -> None:
    """Find installed packages without ``pkg_resources``, which setuptools 82 has dropped.

    For mmengine 0.10: ``_base_ = 'mmpretrain::...'``, ``is_installed`` and mmengine.hub. May go
    with the last release before onedl-mmengine 0.10.12, which does the same.
    """
    utils = mmengine.utils.package_utils
    needed = 'pkg_resources' in utils.is_installed.__code__.co_names
    if not needed or importlib.util.find_spec('pkg_resources'):
        return

    def is_installed(package: str) -> bool:
        try:
            return metadata.distribution(package) is not None
        except metadata.PackageNotFoundError:
            spec = importlib.util.find_spec(package)
            return spec is not None and spec.origin is not None

    def package2module(package: str) -> str:
        names = (metadata.distribution(package).read_text('top_level.txt') or '').split()
        if not names:
            raise ValueError(f'can not infer the module name of {package}')
        return names[0]

    def get_installed_path(package: str) -> str:
        spec = importlib.util.find_spec(package)
        if spec is None:  # the name of a distribution that has another one than its module
            spec = importlib.util.find_spec(package2module(package))
        if spec.origin is None:
            raise RuntimeError(
                f'{package} is a namespace package, which is invalid for `get_installed_path`'
            )
        return os.path.dirname(spec.origin)

    for new in (is_installed, package2module, get_installed_path):
        _rebind(getattr(utils, new.__name__), new)


def mend_negative_hue() -> None:
    """Let ``ColorJitter`` turn the hue backwards under NumPy 2.

    For mmcv 2.0 to 2.2: ``np.uint8(hue_factor * 255)`` raises for a negative product, where
    NumPy 1 took it modulo 256, as a turn of the hue circle should be. May go with the last mmcv
    before onedl-mmcv 2.3.
    """
    original = mmcv.adjust_hue
    try:
        original(np.zeros((1, 1, 3), np.uint8), -0.1)
        return
    except OverflowError:
        pass

    class Hue(float):
        """A hue whose product is a number of steps on the circle already."""

        def __mul__(self, steps: float) -> int:
            return int(float(self) * steps) % 256

    def adjust_hue(img: np.ndarray, hue_factor: float, backend: str | None = None) -> np.ndarray:
        return original(img, Hue(hue_factor), backend)

    _rebind(original, adjust_hue)


def mend_adjust_bbox() -> None:
    """Let ``browse_dataset.py`` call matplotlib's ``adjust_bbox`` without a renderer.

    For the tools of all releases of mmpretrain up to onedl's 1.3.6, on matplotlib 3.11, which
    made the argument mandatory; it only goes to axes that are placed by a locator, and was None
    before. The default is set on the function itself, as the tool has imported it by name before
    its config imports this package. May go when the tool passes a renderer.
    """
    if importlib.util.find_spec('matplotlib._tight_bbox') is None:
        return
    adjust_bbox = import_module('matplotlib._tight_bbox').adjust_bbox
    renderer = inspect.signature(adjust_bbox).parameters.get('renderer')
    if renderer is not None and renderer.default is inspect.Parameter.empty:
        adjust_bbox.__defaults__ = (None, *(adjust_bbox.__defaults__ or ()))


def mend_lite_warning() -> None:
    """Import mmcv-lite's transformer bricks without their warning of an operator it never has.

    For mmcv-lite of all releases, the variant that the requirements name: no backbone, neck or head
    of mmpretrain uses ``MultiScaleDeformableAttention``. That one warning of that one module is
    left out; a full mmcv does not give it. May go when mmpretrain does not import the module.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            'ignore',
            'Fail to import ``MultiScaleDeformableAttention``',
            UserWarning,
            r'mmcv\.cnn\.bricks\.transformer',
        )
        import_module('mmcv.cnn.bricks.transformer')


def mend_import_on_stdout() -> None:
    """Import mmpretrain without a line on standard output, which belongs to what a tool says.

    For onedl-mmpretrain 1.3.6, which prints there that its platform's package is not installed;
    the line goes to standard error. May go when it is logged as the debug line it is meant to be.
    """
    with redirect_stdout(sys.stderr):
        import_module('mmpretrain.datasets')


def mend_retrieval_metric() -> None:
    """Give mmpretrain's retrieval metrics ``np.in1d``, which NumPy 2.4 has dropped.

    For mmpretrain 1.2. Only this module sees the name: in NumPy itself it would mislead others
    that look for it to tell versions apart. May go with mmpretrain 1.2; onedl's 1.3 has
    ``torch.isin``.
    """
    retrieval = import_module('mmpretrain.evaluation.metrics.retrieval')
    if hasattr(retrieval.np, 'in1d'):
        return
    retrieval.np = _Overlay(np, in1d=lambda ar1, ar2: np.isin(np.ravel(ar1), ar2))


# Checkpoints are data


class UnsafeCheckpointError(pickle.UnpicklingError):
    """A checkpoint asks for more than data."""


class _OneCycleMethods:
    """What a scheduler's state names of its class; the class itself stays out of reach."""

    _annealing_cos = staticmethod(OneCycleParamScheduler._annealing_cos)
    _annealing_linear = staticmethod(OneCycleParamScheduler._annealing_linear)


# An instance, as it can neither be called nor instantiated nor filled by a pickle.
_ONE_CYCLE = _OneCycleMethods()
_NAMED_METHODS = {
    HistoryBuffer: ('current', 'max', 'mean', 'min'),
    _ONE_CYCLE: ('_annealing_cos', '_annealing_linear'),
}


def _named_method(owner: Any, name: str) -> Callable:
    """``getattr`` for the methods that mmengine's own checkpoints name, and for nothing else."""
    for known, names in _NAMED_METHODS.items():
        if owner is known and name in names:
            return getattr(owner, name)
    raise UnsafeCheckpointError(f'GLOBAL builtins.getattr of {name!r} of {owner!r}')


# What a checkpoint may name besides tensors, as pairs of the object and its name in the file:
# what mmengine's Runner stores. Arrays and their dtypes are NumPy's own pickles; its module
# `core` is called `_core` from NumPy 2 on.
SAFE_GLOBALS: list[tuple[Any, str]] = [
    (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_ONE_CYCLE, 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
    (_named_method, 'builtins.getattr'),
    (np.ndarray, 'numpy.ndarray'),
    (np.dtype, 'numpy.dtype'),
    *(
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for core in ('core', '_core')
        for function in (np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0])
    ),
    *(
        (type(np.dtype(name)), f'numpy.dtypes.{type(np.dtype(name)).__name__}')
        for name in (
            'bool',
            'int8',
            'int16',
            'int32',
            'int64',
            'uint8',
            'uint16',
            'uint32',
            'uint64',
            'float16',
            'float32',
            'float64',
            'complex64',
            'complex128',
        )
    ),
]

# What pickles of tensors and plain values name.
PLAIN_DATA = re.compile(r'collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.\w+Storage')

# What torch.load raises for a file that is not whole.
_DAMAGED = (
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)
_PICKLE = b'\x80'  # the first byte of a file from before torch 1.6; later ones are zip archives


def load_checkpoint_file(
    filename: str | os.PathLike, map_location: str | torch.device | Callable | None = 'cpu'
) -> dict:
    """Read a checkpoint as data: nothing in it is run, whoever wrote it.

    Args:
        filename: Path or ``http(s)://`` address; a download stays in torch.hub's cache.
        map_location: As for ``torch.load``.

    Returns:
        dict: As it was saved; of a .safetensors file ``state_dict`` and, in ``meta``, its texts.

    Raises:
        UnsafeCheckpointError: If it names a type that is not in :data:`SAFE_GLOBALS`.
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, damaged or something else.
        OSError: If it cannot be downloaded.
    """
    path = find_checkpoint_file(filename)
    with path.open('rb') as file:
        start = file.read(9)
    if _is_safetensors(path, start):
        try:
            return _load_safetensors(path, map_location)
        except safetensors.SafetensorError as error:
            raise ValueError(
                f'{path}: got a damaged file ({path.stat().st_size} bytes; safetensors says: '
                f'{error}), expected a whole .safetensors file; {_again(filename, path)}'
            ) from error
    try:
        checkpoint = _load_data(str(path), map_location)
    except _DAMAGED as error:
        raise ValueError(
            f'{path}: got a file that torch.load cannot read ({error!r}), expected a checkpoint '
            f'written by torch.save; if it is damaged, {_again(filename, path)}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path}: got a file with a {type(checkpoint).__name__}, expected a dict, as '
            'model.state_dict() or a checkpoint of mmengine is; save it as one'
        )
    return checkpoint


def find_checkpoint_file(filename: str | os.PathLike) -> Path:
    """Where a checkpoint lies, downloaded if need be; its content is not read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, cut off or something else.
        OSError: If it cannot be downloaded.
    """
    filename = os.fspath(filename)
    path = _download(filename) if _is_url(filename) else Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'{filename}: got no such file, expected a checkpoint (.pth, .safetensors); '
            'correct the path'
        )
    with path.open('rb') as file:
        start = file.read(9)
    again = _again(filename, path)
    if not start:
        raise ValueError(f'{path}: got an empty file, expected a checkpoint; {again}')
    if _is_safetensors(path, start):
        return path
    if start.startswith(b'PK') and not zipfile.is_zipfile(path):
        raise ValueError(
            f'{path}: got the beginning of a checkpoint ({path.stat().st_size} bytes, the end is '
            f'cut off), expected a whole one; {again}'
        )
    if not start.startswith((b'PK', _PICKLE)):
        raise ValueError(
            f'{path}: got a file that begins with {start[:4]!r}, expected a checkpoint written by '
            f'torch.save; {again}'
        )
    return path


def _is_safetensors(path: Path, start: bytes) -> bool:
    # Eight bytes with the length of the header, then the header, which is JSON.
    return path.suffix == '.safetensors' or start[8:] == b'{'


def _again(filename: str | os.PathLike, path: Path) -> str:
    """How to mend a damaged file."""
    return 'copy or download it again' + (
        f' after deleting {path}' if _is_url(os.fspath(filename)) else ', or correct the path'
    )


def _load_safetensors(path: Path, map_location: Any) -> dict:
    """A .safetensors file, which holds tensors and texts and nothing that could run."""
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    with safetensors.safe_open(path, 'pt', device=str(device)) as file:
        return dict(
            state_dict={name: file.get_tensor(name) for name in file.keys()},
            meta=dict(file.metadata() or {}),
        )


def _load_data(
    file: Any, map_location: Any = None, pickle_module: Any = None, **kwargs: Any
) -> Any:
    """``torch.load`` with ``weights_only=True``, whatever the caller asks for."""
    kwargs['weights_only'] = True
    # From 2.6 on torch takes pairs with the name in the file; before, only plain tensors load.
    new = _release(torch.__version__) >= (2, 6)
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS) if new else nullcontext():
            return torch.load(file, map_location=map_location, **kwargs)
    except pickle.UnpicklingError as error:
        text = str(error)
    blocked = re.search(r'(?:GLOBAL|Unsupported class) ([\w.]+)(.*)', text)
    if blocked is None:
        what = (
            _first_blocked(file)
            or (re.search(r'WeightsUnpickler error:\s*(.+)', text) or [None, text])[1]
        )
    else:  # torch leaves the module out where it is builtins
        what = blocked[1] if '.' in blocked[1] else f'builtins.{blocked[1]}'
        what += blocked[2] if blocked[2].startswith(' of ') else ''
    raise UnsafeCheckpointError(
        f'{getattr(file, "name", file)}: got a checkpoint that asks for {what}, expected tensors, '
        'plain values and what mmengine stores; nothing of it was run. Such a file can run any '
        'program when it is read: if you trust who wrote it, do so where nothing can be lost: '
        'tools/model_converters/ssl_to_mmpretrain.py IN OUT --trust-pickle writes a clean file of '
        "its backbone, torch.save(dict(state_dict=...), 'new.pth') whatever else is needed"
        + ('' if new else '; a run of mmengine resumes from torch 2.6 on (`pip install -U torch`)')
    )


def _first_blocked(file: Any) -> str | None:
    """What torch, which knows protocol 2, cannot name in a pickle of a later one.

    Returns:
        str: The first type that is no plain data, else the protocol; None for any other file.
    """
    with nullcontext(file) if hasattr(file, 'seek') else open(file, 'rb') as file:
        file.seek(0)
        if zipfile.is_zipfile(file):
            archive = zipfile.ZipFile(file)
            name = next((x for x in archive.namelist() if x.endswith('data.pkl')), None)
            if name is None:
                return None
            file = archive.open(name)
        else:
            file.seek(0)  # a file from before torch 1.6 holds several pickles in a row
        known = {name for _, name in SAFE_GLOBALS} - {'builtins.getattr'}
        known |= {f'numpy.{core}.numeric._frombuffer' for core in ('core', '_core')}
        protocol = 0
        try:
            while True:
                for opcode, value in _named_types(file):
                    if opcode == 'PROTO':
                        protocol = max(protocol, value)
                    elif value not in known and not PLAIN_DATA.fullmatch(value):
                        return value
        except ValueError:  # the end, or no pickle
            return f'pickle protocol {protocol}' if protocol > 2 else None


def _named_types(file: Any) -> Iterator[tuple[str, Any]]:
    """Types that a pickle names, and its protocol, by its text alone: nothing is run."""
    memo, pushed = {}, deque([None, None], maxlen=2)  # texts by which STACK_GLOBAL names a type
    for opcode, value, _ in pickletools.genops(file):
        name = opcode.name
        if name == 'PROTO':
            yield name, value
        elif name in ('GLOBAL', 'INST'):
            yield name, value.replace(' ', '.')
            pushed.append(None)
        elif name == 'STACK_GLOBAL':
            yield name, '.'.join(text or '?' for text in pushed)
            pushed.append(None)
        elif name == 'MEMOIZE':
            memo[len(memo)] = pushed[-1]
        elif name.endswith('PUT'):
            memo[value] = pushed[-1]
        elif name.endswith('GET'):
            pushed.append(memo.get(value))
        elif opcode.stack_after:
            pushed.append(value if isinstance(value, str) else None)


def _is_url(filename: str) -> bool:
    return filename.startswith(('http://', 'https://'))


def _download(url: str) -> Path:
    """Fetch a file into torch.hub's cache, unless it is there; the first process goes ahead."""
    path = Path(torch.hub.get_dir(), 'checkpoints', os.path.basename(urlparse(url).path))

    def fetch() -> None:
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
        except OSError as error:
            raise OSError(
                f'{url}: got {error!r} from the download, expected a checkpoint; correct the '
                'address, or fetch the file yourself and give its path'
            ) from error

    try:
        if mmengine.dist.get_rank() == 0:
            fetch()
    finally:  # the others wait for it, even where it failed
        mmengine.dist.barrier()
    fetch()  # for the processes of machines that do not share the cache
    return path


def load_from_weights_only(filename: str, map_location: Any = None, **_: Any) -> dict:
    """Load for mmengine's ``CheckpointLoader``, which logs the end of this name."""
    checkpoint = load_checkpoint_file(filename, map_location)
    # `Runner.resume` runs this text as a config to look for a list of GPUs, which no mmengine has
    # ever stored there; so whoever wrote the file could run a program by it.
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def mend_checkpoint_loading() -> None:
    """Let mmengine read checkpoints as data only, its own ones included.

    For mmengine 0.10: torch 2.6 refuses the ``HistoryBuffer`` and NumPy objects of its own
    checkpoints, an older torch and a download take whatever the file says; and for onedl-mmengine
    0.10.12, which reads again without the safeguard what was refused. Paths and ``http(s)://``
    get the errors of :func:`load_checkpoint_file`, and so does what leads to them
    (``torchvision://``, ``openmmlab://``, ``mmcls://``); the other schemes (``pavi://``,
    ``s3://``, ``petrel://``) are held to data by the module's ``torch.load``. May go when
    mmengine has a list of its own and no way around it.
    """
    if isinstance(mmengine_checkpoint.torch, _Overlay):
        return
    for name in ('load_from_local', 'load_from_http'):
        _rebind(getattr(mmengine_checkpoint, name), load_from_weights_only)
    mmengine_checkpoint.CheckpointLoader.register_scheme(
        ('', 'http://', 'https://'), load_from_weights_only, force=True
    )
    mmengine_checkpoint.torch = _Overlay(torch, load=_load_data)
    # A resumed SwAV reads its queue from a file beside the checkpoint.
    import_module('mmpretrain.engine.hooks.swav_hook').torch = mmengine_checkpoint.torch


# Without CUDA

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
            self.iterator = loops._InfiniteDataloaderIterator(self.dataloader)
        return next(self.iterator)


def mend_resume() -> None:
    """Resume an iteration-based training without decoding again what it has read.

    For mmengine 0.10.7, whose loop replays all steps before the checkpoint: where the sampler can
    ``skip``, it does, and mmengine's ``InfiniteSampler`` is moved on here. onedl-mmengine 0.10.12
    does so itself (its iterator has ``skip_iter``).
    """
    original = loops.IterBasedTrainLoop.run
    if hasattr(loops._InfiniteDataloaderIterator, 'skip_iter') or hasattr(original, 'skips'):
        return

    def run(self: Any) -> Any:
        sampler = getattr(self.dataloader, 'sampler', None)
        endless = isinstance(sampler, InfiniteSampler)
        if self._iter > 0 and self.dataloader.batch_size and (endless or hasattr(sampler, 'skip')):
            passed = self._iter * self.dataloader.batch_size
            if endless:
                # from the start: the loop's first iterator has taken some of `indices` ahead
                sampler.indices = itertools.islice(sampler._indices_of_rank(), passed, None)
            else:
                sampler.skip(passed)
            self.dataloader_iterator = _ResumedIterator(self.dataloader, self._iter)
        return original(self)

    run.skips = True
    loops.IterBasedTrainLoop.run = run


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
