"""abaw_mm: facial expressions in video with mmpretrain.

``import abaw_mm`` checks the installed versions, applies the patches that OpenMMLab's releases need
on today's PyTorch, and makes mmengine read checkpoints as data only. It then registers datasets,
samplers, models, metrics and hooks in mmpretrain's registries, and the configs by name
(``mmpretrain.list_models('abaw*')``, ``_base_ = 'abaw_mm::res18_srp_affwild2.py'``).
"""

from .compat import apply_patches

apply_patches()  # before mmpretrain is imported

from . import checkpoints  # noqa: E402

checkpoints.use_safe_loading()

from . import datasets, engine, evaluation, models, structures  # noqa: E402
from .model_index import register_model_index, use_config_names  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = [
    '__version__',
    'checkpoints',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'structures',
]

register_model_index()
use_config_names()
