"""abaw_mm: expressions in video with mmpretrain.

``import abaw_mm`` checks the versions of the stack, mends what today's PyTorch needs of it and
registers the dataset, sampler, neck, metrics and hooks in mmpretrain's registries, and the
configs by their names (``mmpretrain.list_models('abaw*')``).
"""

from . import compat

__version__ = '0.1.0'

compat.check_versions()
compat.apply()  # before mmpretrain, whose import needs what is mended here

from . import datasets, engine, evaluation, models, structures  # noqa: E402
from .model_index import register_model_index  # noqa: E402

__all__ = ['__version__', 'compat', 'datasets', 'engine', 'evaluation', 'models', 'structures']

register_model_index()
