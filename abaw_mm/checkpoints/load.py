"""Read checkpoints as data: whoever wrote a file, nothing in it is run."""

import os
import pickle
import pickletools
import re
import struct
import sys
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mmengine.dist
import numpy as np
import safetensors
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import checkpoint as mmengine_checkpoint

from abaw_mm.compat.patches import _Overlay, _rebind
from abaw_mm.compat.versions import _release


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


def use_safe_loading() -> None:
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


def check_checkpoint_path(checkpoint: str | None, setting: str = 'checkpoint') -> None:
    """Raise FileNotFoundError for a path of weights that is not there; None and URLs pass.

    Args:
        checkpoint (str, optional): The path.
        setting (str): Where the user gave it, for the message.
    """
    if checkpoint and '://' not in checkpoint and not os.path.isfile(checkpoint):
        raise FileNotFoundError(
            f'{setting}={checkpoint!r}: no such file, expected a checkpoint; correct the path'
            + (
                ' at the top of the config or in --cfg-options (None trains on random frozen '
                'stages)'
                if setting == 'checkpoint'
                else ''
            )
        )
