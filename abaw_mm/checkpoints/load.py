"""Load checkpoint files as data, for this package and for mmengine."""

import os
import re
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors
import torch
from mmengine.runner import checkpoint

from abaw_mm.checkpoints.download import download_checkpoint, is_url
from abaw_mm.checkpoints.safe_pickle import PICKLE, ZIP, load_data
from abaw_mm.compat.patches import ModuleOverlay, replace_function
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.files import DAMAGED, sha256, sha256_of_stream, summarize

mmengine_checkpoint: Any = checkpoint

_loaded: dict[str, str] = {}  # path or address to the SHA-256 of what was loaded from it last


def load_checkpoint_file(
    filename: str | os.PathLike, map_location: str | torch.device | Callable | None = 'cpu'
) -> dict:
    """Load a checkpoint as data: nothing in the file is run, whoever wrote it.

    Args:
        filename: Path or ``http(s)://`` address. A download is kept in the cache of torch.hub.
        map_location: As for ``torch.load``.

    Returns:
        dict: The checkpoint as saved, without ``config`` in its ``meta``. For a .safetensors file,
        ``state_dict`` and the file's metadata in ``meta``.

    Raises:
        UnsafeCheckpointError: If the file refers to a type that is not in
            :data:`~abaw_mm.checkpoints.safe_pickle.SAFE_GLOBALS`.
        MissingFileError: If there is no such file.
        InvalidValueError: If the file is empty, damaged or not a checkpoint.
        FileAccessError: If the download fails.
    """
    path = find_checkpoint_file(filename)
    if _is_safetensors(path, _read_start(path)):
        loaded = _load_safetensors(filename, path, map_location)
    else:
        loaded = _load_pickle(filename, path, map_location)
    return drop_config(loaded)


def get_loaded_sha256(filename: str | os.PathLike) -> str:
    """Return the SHA-256 of the bytes that this process loaded last from a path or an address.

    The file at the path may have been replaced since, and a server may send another one.

    Returns:
        str: The checksum, ``''`` if nothing was loaded from there.
    """
    return _loaded.get(_normalise_name(filename), '')


def find_checkpoint_file(filename: str | os.PathLike) -> Path:
    """Return the path of a checkpoint, after a download if necessary, without reading its content.

    Raises:
        MissingFileError: If there is no such file.
        InvalidValueError: If the file is empty, truncated or not a checkpoint.
        FileAccessError: If the download fails.
    """
    filename = os.fspath(filename)
    path = download_checkpoint(filename) if is_url(filename) else Path(filename).expanduser()
    if not path.is_file():
        raise MissingFileError(
            f'{filename}: got no such file, expected a checkpoint (.pth, .safetensors); '
            'correct the path'
        )
    start = _read_start(path)
    if _is_safetensors(path, start):
        return path
    problem = None
    if not start:
        problem = 'an empty file'
    elif start.startswith(ZIP) and not _ends_as_zip(path):
        problem = f'a truncated checkpoint ({path.stat().st_size} bytes)'
    elif not start.startswith((ZIP, PICKLE)):
        problem = f'a file that begins with {start[:4]!r}'
    if problem:
        raise InvalidValueError(
            f'{path}: got {problem}, expected a checkpoint written by torch.save; '
            f'{_advise_new_copy(filename, path)}'
        )
    return path


def check_checkpoint_path(filename: str | None, setting: str = 'checkpoint') -> None:
    """Check that a path to weights exists. None and addresses pass.

    Args:
        filename (str, optional): The path.
        setting (str): The setting or argument that holds the path, for the message.

    Raises:
        InvalidValueError: If it is no path.
        MissingFileError: If there is no such file.
    """
    if filename is not None and not isinstance(filename, str):
        raise InvalidValueError(f'{setting}={filename!r}: expected the path of one checkpoint')
    if not filename or '://' in filename or Path(filename).expanduser().is_file():
        return
    advice = 'correct the path'
    if setting == 'checkpoint':
        advice += (
            ' at the top of the config or in --cfg-options (None trains with random frozen stages)'
        )
    raise MissingFileError(f'{setting}={filename!r}: no such file, expected a checkpoint; {advice}')


def unwrap_state_dict(checkpoint: dict) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint's model, without the prefix ``module.`` of DDP.

    >>> list(unwrap_state_dict(dict(state_dict={'module.fc.bias': torch.ones(1)}, epoch=3)))
    ['fc.bias']
    """
    return {
        re.sub(r'^module\.', '', key): value
        for key, value in checkpoint.get('state_dict', checkpoint).items()
        if isinstance(value, torch.Tensor)
    }


def drop_config(checkpoint: Any) -> Any:
    """Remove ``config`` from a checkpoint's ``meta``, in place, and return the checkpoint.

    ``Runner.resume`` executes this text as a config to look for ``gpu_ids``, which mmengine never
    stores there. So an author of a checkpoint could run a program with it.
    """
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def use_safe_loading() -> None:
    """Make mmengine load checkpoints as data only. A second call has no effect.

    Affects mmengine 0.10 and onedl-mmengine 0.10.12:

    - torch from 2.6 on refuses the ``HistoryBuffer`` and the NumPy objects in mmengine's own
      checkpoints.
    - An earlier torch, and every download, runs whatever the file contains.
    - onedl-mmengine reads a refused file again without the safeguard.

    Paths, ``http(s)://`` and the schemes that lead to them (``torchvision://``, ``openmmlab://``,
    ``mmcls://``) use :func:`load_checkpoint_file`. The other schemes (``s3://``, ``petrel://``)
    use a ``torch.load`` that reads data only. Remove when mmengine has its own list of safe types
    and no way around it.
    """
    if isinstance(mmengine_checkpoint.torch, ModuleOverlay):
        return
    for name in ('load_from_local', 'load_from_http'):
        replace_function(getattr(mmengine_checkpoint, name), load_from_weights_only)
    mmengine_checkpoint.CheckpointLoader.register_scheme(
        ('', 'http://', 'https://'), load_from_weights_only, force=True
    )
    mmengine_checkpoint.torch = ModuleOverlay(torch, load=_torch_load)
    # onedl-mmengine's own list of safe types has `getattr`, which would be allowed beside ours.
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):
        mmengine_checkpoint._safe_torch_load = _torch_load
    # SwAV resumes its queue from a file next to the checkpoint.
    swav_hook: Any = import_module('mmpretrain.engine.hooks.swav_hook')
    swav_hook.torch = mmengine_checkpoint.torch


def load_from_weights_only(filename: str, map_location: Any = None, **_: Any) -> dict:
    """Load a checkpoint for mmengine's ``CheckpointLoader``, which logs the end of this name."""
    return load_checkpoint_file(filename, map_location)


def _torch_load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """``torch.load`` for mmengine."""
    return drop_config(_read_pickle(file, 'copy or download it again', *args, **kwargs))


def _normalise_name(filename: str | os.PathLike) -> str:
    filename = os.fspath(filename)
    return filename if is_url(filename) else os.path.abspath(os.path.expanduser(filename))


def _ends_as_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # a damaged end
        return False


def _read_start(path: Path) -> bytes:
    with path.open('rb') as file:
        return file.read(9)


def _is_safetensors(path: Path, start: bytes) -> bool:
    # The length of the header in eight bytes, then the header as JSON.
    return path.suffix == '.safetensors' or start[8:] == b'{'


def _advise_new_copy(filename: str | os.PathLike, path: Path) -> str:
    if is_url(os.fspath(filename)):
        return f'delete {path} and run the command again to download it'
    return 'copy or download it again, or correct the path'


def _load_safetensors(filename: str | os.PathLike, path: Path, map_location: Any) -> dict:
    """Load a .safetensors file, which holds only tensors and texts."""
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        with safetensors.safe_open(path, 'pt', device=str(device)) as file:
            _loaded[_normalise_name(filename)] = sha256(path)
            return dict(
                state_dict={name: file.get_tensor(name) for name in file.keys()},
                meta=dict(file.metadata() or {}),
            )
    except safetensors.SafetensorError as error:
        raise InvalidValueError(
            f'{path}: got a damaged file ({path.stat().st_size} bytes; safetensors says: '
            f'{error}), expected a .safetensors file; {_advise_new_copy(filename, path)}'
        ) from error


def _read_pickle(file: Any, advice: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return load_data(file, *args, **kwargs)
    except DAMAGED as error:
        name = getattr(file, 'name', file)
        if 'TorchScript' in str(error):
            raise InvalidValueError(
                f'{name}: got a TorchScript program, expected a checkpoint written by torch.save; '
                "if you trust its author, write its tensors with torch.save(torch.jit.load('IN', "
                "map_location='cpu').state_dict(), 'OUT.pth') and give OUT.pth"
            ) from error
        raise InvalidValueError(
            f'{name}: got a file that torch.load cannot read ({summarize(error)}), '
            f'expected a checkpoint written by torch.save; if it is damaged, {advice}'
        ) from error


def _load_pickle(filename: str | os.PathLike, path: Path, map_location: Any) -> dict:
    """Load a file that torch.save wrote."""
    with path.open('rb') as file:  # open once: a training may replace the file meanwhile
        _loaded[_normalise_name(filename)] = sha256_of_stream(file)
        file.seek(0)
        loaded = _read_pickle(file, _advise_new_copy(filename, path), map_location)
    if not isinstance(loaded, dict):
        raise InvalidValueError(
            f'{path}: got a file with a {type(loaded).__name__}, expected a dict, such as '
            'model.state_dict() or a checkpoint of mmengine; save it as a dict'
        )
    return loaded
