"""Patches that let OpenMMLab's frozen releases run on today's stack.

Each patch is one function. It checks whether it is needed, so that it has no effect on releases
that contain the fix, such as those of the ``onedl-*`` continuation. Its docstring names the
affected releases and says when the patch can be removed.
"""

import importlib.util
import inspect
import itertools
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cached_property
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import mmcv
import mmengine.utils.package_utils
import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.runner import loops

from abaw_mm.errors import MissingPackageError
from abaw_mm.files import open_atomic


def apply_patches() -> None:
    """Apply all patches, before mmpretrain is imported. A second call has no effect."""
    patch_torchvision_import()
    patch_package_lookup()
    patch_negative_hue()
    patch_adjust_bbox()
    patch_lite_warning()
    patch_own_warnings()
    patch_import_on_stdout()  # imports mmpretrain, so it follows the patches of its dependencies
    patch_resume()
    patch_retrieval_metric()
    patch_averaged_label()
    patch_writing()


class ModuleOverlay(ModuleType):
    """A view of a module in which some names are replaced.

    Assigned to a name in one other module, it changes what that module sees and nothing else.

    >>> import math
    >>> overlay = ModuleOverlay(math, pi=3)
    >>> overlay.pi, overlay.sqrt(4.0), round(math.pi, 2)
    (3, 2.0, 3.14)
    """

    def __init__(self, module: ModuleType, **names: Any) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(names, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def replace_function(old: Callable, new: Callable) -> None:
    """Replace a function in every imported OpenMMLab module that holds it by its name."""
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] in ('mmcv', 'mmengine', 'mmpretrain'):
            if vars(module).get(old.__name__) is old:
                setattr(module, old.__name__, new)


def patch_torchvision_import() -> None:
    """Import torchvision although its compiled operators do not load.

    Affects torchvision 0.28 from PyPI (built for CUDA) with the CPU build of torch 2.13: the import
    fails where torchvision registers meta kernels of ``nms`` and ``qnms``. mmpretrain uses only
    transforms written in Python. Remove when torchvision checks that the operators exist.

    Raises:
        MissingPackageError: If torchvision is not installed.
    """
    try:
        import_module('torchvision')
    except ModuleNotFoundError as error:
        if error.name != 'torchvision':
            raise
        raise MissingPackageError(
            'abaw_mm needs torchvision: got none installed, expected the release for the installed '
            'torch (0.28 for 2.13); run `pip install torchvision`',
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
    """Look up installed packages without ``pkg_resources``, which setuptools 82 removed.

    Affects mmengine 0.10: ``_base_ = 'mmpretrain::...'``, ``is_installed`` and ``mmengine.hub``.
    onedl-mmengine 0.10.12 has the fix. Remove when earlier releases are no longer supported.
    """
    utils = mmengine.utils.package_utils
    uses_pkg_resources = 'pkg_resources' in utils.is_installed.__code__.co_names
    if not uses_pkg_resources or importlib.util.find_spec('pkg_resources'):
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
        # A distribution can have another name than its module.
        spec = importlib.util.find_spec(package) or importlib.util.find_spec(
            package2module(package)
        )
        if spec is None or spec.origin is None:
            raise RuntimeError(
                f'{package} is a namespace package, which is invalid for `get_installed_path`'
            )
        return os.path.dirname(spec.origin)

    for new in (is_installed, package2module, get_installed_path):
        replace_function(getattr(utils, new.__name__), new)


def patch_negative_hue() -> None:
    """Let ``ColorJitter`` rotate the hue backwards under NumPy 2.

    Affects mmcv 2.0 to 2.2: ``np.uint8(hue_factor * 255)`` raises OverflowError for a negative
    product. NumPy 1 wrapped it modulo 256, which is a rotation of the hue circle. onedl-mmcv 2.3
    has the fix. Remove when earlier releases are no longer supported.
    """
    original = mmcv.adjust_hue
    try:
        original(np.zeros((1, 1, 3), np.uint8), -0.1)
        return
    except OverflowError:
        pass

    class Hue(float):
        """A hue factor whose product is already wrapped modulo 256."""

        def __mul__(self, steps: float) -> int:
            return int(float(self) * steps) % 256

    def adjust_hue(img: np.ndarray, hue_factor: float, backend: str | None = None) -> np.ndarray:
        return original(img, Hue(hue_factor), backend)

    replace_function(original, adjust_hue)


def patch_adjust_bbox() -> None:
    """Let ``browse_dataset.py`` call matplotlib's ``adjust_bbox`` without a renderer.

    Affects mmpretrain up to onedl-mmpretrain 1.3.6 with matplotlib 3.11, which made the argument
    mandatory. It is used only for axes that have a locator, and defaulted to None. The default is
    set on the function itself, since the tool imports the function by name before its config
    imports this package. Remove when the tool passes a renderer.
    """
    if importlib.util.find_spec('matplotlib._tight_bbox') is None:
        return
    adjust_bbox = import_module('matplotlib._tight_bbox').adjust_bbox
    renderer = inspect.signature(adjust_bbox).parameters.get('renderer')
    if renderer is not None and renderer.default is inspect.Parameter.empty:
        adjust_bbox.__defaults__ = (None, *(adjust_bbox.__defaults__ or ()))


def patch_lite_warning() -> None:
    """Suppress the warning of mmcv-lite that ``MultiScaleDeformableAttention`` is missing.

    Affects every release of mmcv-lite, the variant in the requirements. No backbone, neck or head
    of mmpretrain uses the operator. Other warnings are still shown. Remove when mmpretrain no
    longer imports ``mmcv.cnn.bricks.transformer``.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            'ignore',
            'Fail to import ``MultiScaleDeformableAttention``',
            UserWarning,
            r'mmcv\.cnn\.bricks\.transformer',
        )
        import_module('mmcv.cnn.bricks.transformer')


def patch_own_warnings() -> None:
    """Suppress warnings about what mmengine itself does, which its user cannot change.

    Affects mmengine 0.10 and onedl-mmengine 0.10.12. ``CheckpointHook`` creates mmengine's own
    ``FileClient``, which logs that it and its backend are deprecated, at the start of each run.
    ``MMDistributedDataParallel`` passes ``broadcast_buffers`` to torch. ``ColorJitter`` passes
    ``alpha`` to mmcv, which warns in each worker that only Pillow uses it. Other warnings are still
    shown. Remove with the causes.
    """
    file_client: Any = import_module('mmengine.fileio.file_client')
    file_client.print_log = lambda *args, **kwargs: None  # used for these two messages only
    warnings.filterwarnings(
        'ignore', '`broadcast_buffers` is deprecated', FutureWarning, r'mmengine\.model\.wrappers'
    )
    warnings.filterwarnings(
        'ignore', "Only use 'alpha' for pillow", UserWarning, r'mmcv\.image\.photometric'
    )


def patch_import_on_stdout() -> None:
    """Import mmpretrain without output on standard output, which belongs to the command.

    Affects onedl-mmpretrain 1.3.6, which prints that its platform package is not installed. The
    line goes to standard error. Remove when mmpretrain logs it instead.
    """
    with redirect_stdout(sys.stderr):
        import_module('mmpretrain.datasets')


def patch_retrieval_metric() -> None:
    """Give mmpretrain's retrieval metrics ``np.in1d``, which NumPy 2.4 removed.

    Affects mmpretrain 1.2. NumPy itself is left unchanged, as others look for the name to detect
    NumPy's version. onedl-mmpretrain 1.3 uses ``torch.isin``. Remove with support for 1.2.
    """
    retrieval: Any = import_module('mmpretrain.evaluation.metrics.retrieval')
    if hasattr(retrieval.np, 'in1d'):
        return
    retrieval.np = ModuleOverlay(np, in1d=lambda ar1, ar2: np.isin(np.ravel(ar1), ar2))


def patch_averaged_label() -> None:
    """Let test-time augmentation predict the class of the averaged scores.

    Affects mmpretrain up to onedl-mmpretrain 1.3.6: ``AverageClsScoreTTA`` averages ``pred_score``
    and keeps the ``pred_label`` of the first augmentation, which pictures show and which metrics
    without scores read. Remove when it sets both.
    """
    tta: Any = import_module('mmpretrain.models.tta').AverageClsScoreTTA
    original = tta._merge_single_sample
    if hasattr(original, 'sets_label'):
        return

    def merge(self: Any, data_samples: Any) -> Any:
        merged = original(self, data_samples)
        return merged.set_pred_label(merged.pred_score.argmax(dim=0, keepdim=True))

    vars(merge)['sets_label'] = True
    tta._merge_single_sample = merge


class _LazyIterator(loops._InfiniteDataloaderIterator):
    """Iterator of a training loop that starts the workers with the first batch that is loaded."""

    skipped = 0  # items to come that are None, without loading data

    def __init__(self, dataloader: Any) -> None:
        self._dataloader = dataloader
        self._epoch = 0

    @cached_property
    def _iterator(self) -> Any:
        return iter(self._dataloader)

    def __next__(self) -> Any:
        if self.skipped > 0:
            self.skipped -= 1
            return None
        return super().__next__()


def can_skip(dataloader: Any) -> bool:
    """Return whether a resumed iteration-based training skips past data without loading it."""
    sampler = dataloader.sampler
    return bool(dataloader.batch_size) and (
        isinstance(sampler, InfiniteSampler) or hasattr(sampler, 'skip')
    )


def patch_resume() -> None:
    """Start the workers of a training with its first batch, and skip past frames on resume.

    Affects mmengine 0.10.7. Its iteration-based loop starts the workers before hooks can prepare
    the data, and on resume loads the batches of all steps before the checkpoint. With the patch, a
    sampler that has ``skip``, or mmengine's ``InfiniteSampler``, is advanced instead.
    onedl-mmengine 0.10.12 has its own fix (``skip_iter``). Remove when earlier releases are no
    longer supported.
    """
    original: Any = loops.IterBasedTrainLoop.run
    if hasattr(loops._InfiniteDataloaderIterator, 'skip_iter') or hasattr(original, 'skips'):
        return

    def run(self: Any) -> Any:
        sampler: Any = self.dataloader.sampler
        if self._iter > 0 and can_skip(self.dataloader):
            passed = self._iter * self.dataloader.batch_size
            if isinstance(sampler, InfiniteSampler):
                sampler.indices = itertools.islice(sampler._indices_of_rank(), passed, None)
            else:
                sampler.skip(passed)
            self.dataloader_iterator.skipped = self._iter
        return original(self)

    vars(run)['skips'] = True
    loops.IterBasedTrainLoop.run = run
    loops._InfiniteDataloaderIterator = _LazyIterator


def patch_writing() -> None:
    """Let mmengine write each file whole or not at all.

    Affects mmengine 0.10 and onedl-mmengine 0.10.12, which write checkpoints (also ``best_*``),
    ``last_checkpoint``, pictures and the config of a run under their final names: a killed process
    or a full disk leaves a part of the file. Remove when mmengine writes to a temporary name first.
    """
    for name in ('fileio.backends.local_backend', 'hooks.checkpoint_hook', 'config.config'):
        vars(import_module(f'mmengine.{name}'))['open'] = open_atomic
