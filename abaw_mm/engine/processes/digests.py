"""Describe code, config and data of a process by texts and checksums, to compare processes."""

import hashlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmengine
import mmpretrain
import numpy as np
import torch
from mmengine.config import Config
from mmengine.fileio import get
from mmengine.runner import Runner
from mmengine.utils import apply_to

from abaw_mm.datasets.unwrap_datasets import unwrap_once
from abaw_mm.files import sha256
from abaw_mm.structures import FrameTable

PACKAGE = Path(__file__).parents[2]
# Settings that may be another one on each machine: paths and what suits its cores.
OF_A_MACHINE = {'data_root', 'work_dir', 'num_workers', 'prefetch_factor', 'pin_memory'}
SAMPLES = 64  # items of a dataset whose content is compared
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
SHOWN = 12  # digits of a checksum


def describe_program(cfg: Config) -> dict[str, str]:
    """Describe the code and the config: versions, checksum of the sources, settings."""
    return {
        'torch': torch.__version__,
        'mmengine': mmengine.__version__,
        'mmpretrain': mmpretrain.__version__,
        'code of abaw_mm (SHA-256)': _digest_sources(),
        'NNODES': os.environ.get('GROUP_WORLD_SIZE', '1'),  # of torchrun
        **_flatten('', cfg.to_dict()),
    }


def describe_files(**paths: str | None) -> dict[str, str]:
    """Describe files by their checksums, others such as a URL by their names."""
    found = {name: path and os.path.expanduser(path) for name, path in paths.items()}
    return {
        name: f'SHA-256 {sha256(path)[:SHOWN]}' if path and os.path.isfile(path) else f'{path}'
        for name, path in found.items()
    }


def describe_data(runner: Runner) -> dict[str, str]:
    """Describe the datasets of a Runner's loops.

    Frames and labels are compared completely, of the images and features 64 that are spread over
    each dataset.
    """
    loops = zip(LOADERS, (runner._train_loop, runner._val_loop, runner._test_loop), strict=True)
    return {
        f'{name}.dataset': digest_dataset(loop.dataloader.dataset)
        for name, loop in loops
        if hasattr(loop, 'dataloader')
    }


def digest_dataset(dataset: Any) -> str:
    """Return the number of items and a checksum of a dataset, also inside wrappers."""
    digest = hashlib.sha256()
    _add_dataset(digest, dataset)
    return f'{len(dataset)} items, SHA-256 {digest.hexdigest()[:SHOWN]}'


def _add_dataset(digest: Any, dataset: Any) -> None:
    for part in unwrap_once(dataset):
        _add_dataset(digest, part)
    frames = getattr(dataset, 'frames', None)
    if isinstance(frames, FrameTable):
        _add(digest, frames.clips, frames.clip_id, frames.frame_no)
        for name, column in frames.columns.items():
            if name != 'source':  # the folder that holds the crop
                _add(digest, name, column)
    root = getattr(dataset, 'data_root', '')
    for row in np.linspace(0, len(dataset) - 1, min(SAMPLES, len(dataset))).astype(int).tolist():
        if hasattr(dataset, 'streams'):  # windows of features
            apply_to(dataset[row], torch.is_tensor, lambda tensor: _add(digest, tensor.numpy()))
        elif hasattr(dataset, 'get_data_info'):
            _add_image(digest, dataset.get_data_info(row).get('img_path'), root)


def _add_image(digest: Any, path: str | None, root: str) -> None:
    """Add the name and the content of an image. One that cannot be read has only a name."""
    if path is None:
        return
    _add(digest, os.path.basename(path) if not root else path.removeprefix(root))
    try:
        digest.update(get(path))
    except OSError:
        return


def _add(digest: Any, *values: Any) -> None:
    for value in values:
        is_array = isinstance(value, np.ndarray)
        digest.update(np.ascontiguousarray(value) if is_array else repr(value).encode())


def _digest_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob('*.py')):
        _add(digest, str(path.relative_to(PACKAGE)))
        digest.update(path.read_bytes())
    return digest.hexdigest()[:SHOWN]


def _flatten(key: str, value: Any) -> dict[str, str]:
    """Return the settings in a value by their dotted keys.

    >>> _flatten('', dict(a=dict(b=1), c=[dict(d='x')], work_dir='/w'))
    {'a.b': '1', 'c[0].d': "'x'"}
    """
    if key.rpartition('.')[2].partition('[')[0] in OF_A_MACHINE:
        return {}
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        parts = [(f'{key}.{name}' if key else f'{name}', part) for name, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f'{key}[{number}]', part) for number, part in enumerate(value)]
    elif inspect.isclass(value) or inspect.isroutine(value):  # its repr has an address
        return {key: f'{value.__module__}.{value.__qualname__}'}
    else:
        return {key: repr(value)}
    return {name: text for part in parts for name, text in _flatten(*part).items()}
