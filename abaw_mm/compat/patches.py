"""Patches that let OpenMMLab's frozen releases run on today's stack.

Each patch is one function. It first checks whether it is needed, so that it does nothing on
releases that contain the fix, such as the ``onedl-*`` continuation. Its docstring names the
releases it is for and when it can be removed.
"""

import importlib.util
import inspect
import itertools
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import mmcv
import mmengine.utils.package_utils
import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.runner import loops


def apply_patches() -> None:
    """Mend what today's stack needs before mmpretrain is imported; again has no effect."""
    patch_torchvision_import()
    patch_package_lookup()
    patch_negative_hue()
    patch_adjust_bbox()
    patch_lite_warning()
    patch_import_on_stdout()  # the first to import mmpretrain, after what its import needs
    patch_resume()
    patch_retrieval_metric()


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


def patch_torchvision_import() -> None:
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


def patch_package_lookup() -> None:
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


def patch_negative_hue() -> None:
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


def patch_adjust_bbox() -> None:
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


def patch_lite_warning() -> None:
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


def patch_import_on_stdout() -> None:
    """Import mmpretrain without a line on standard output, which belongs to what a tool says.

    For onedl-mmpretrain 1.3.6, which prints there that its platform's package is not installed;
    the line goes to standard error. May go when it is logged as the debug line it is meant to be.
    """
    with redirect_stdout(sys.stderr):
        import_module('mmpretrain.datasets')


def patch_retrieval_metric() -> None:
    """Give mmpretrain's retrieval metrics ``np.in1d``, which NumPy 2.4 has dropped.

    For mmpretrain 1.2. Only this module sees the name: in NumPy itself it would mislead others
    that look for it to tell versions apart. May go with mmpretrain 1.2; onedl's 1.3 has
    ``torch.isin``.
    """
    retrieval = import_module('mmpretrain.evaluation.metrics.retrieval')
    if hasattr(retrieval.np, 'in1d'):
        return
    retrieval.np = _Overlay(np, in1d=lambda ar1, ar2: np.isin(np.ravel(ar1), ar2))


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


def patch_resume() -> None:
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
