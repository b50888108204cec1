"""Our configs by name, in mmpretrain's ``list_models`` and ``get_model``."""

from pathlib import Path

from mmpretrain.apis.model import ModelHub

PACKAGE = Path(__file__).resolve().parent


def installed_root() -> Path:
    """Folder that has ``configs`` and ``model-index.yml``.

    It is ``abaw_mm/.mim``, as in all OpenMMLab wheels, or the repository of an editable install.
    """
    mim = PACKAGE / '.mim'
    return mim if mim.is_dir() else PACKAGE.parent


def register_model_index() -> None:
    """Make our configs known to mmpretrain; again has no effect.

    Only names and paths are read, in some 20 ms; a config is read when it is asked for. Where
    neither the wheel's files nor the repository is there (a copied package), nothing is registered.
    """
    root = installed_root()
    index = root / 'model-index.yml'
    if index.is_file() and not ModelHub.has('abaw_res18_srp_affwild2'):
        ModelHub.register_model_index(index, config_prefix=root)
