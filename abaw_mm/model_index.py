"""Register our configs by name with mmpretrain's ``list_models`` and ``get_model``."""

from pathlib import Path

from mmpretrain.apis.model import ModelHub

PACKAGE = Path(__file__).resolve().parent


def find_config_root() -> Path:
    """Return the folder that holds ``configs`` and ``model-index.yml``.

    This is ``abaw_mm/.mim`` in a wheel, as in all OpenMMLab wheels, and the repository in an
    editable install.
    """
    mim = PACKAGE / '.mim'
    return mim if mim.is_dir() else PACKAGE.parent


def register_model_index() -> None:
    """Register our configs with mmpretrain, unless they are registered already.

    Reads only names and paths, in about 20 ms; a config is read when it is requested. Registers
    nothing if the package was copied without its configs.
    """
    root = find_config_root()
    index = root / 'model-index.yml'
    if index.is_file() and not ModelHub.has('abaw_res18_srp_affwild2'):
        ModelHub.register_model_index(index, config_prefix=root)
