"""Find our configs by name: ``list_models``, ``get_model``, and ``_base_`` of other configs."""

import functools
from pathlib import Path

from mmengine.config import Config
from mmpretrain.apis.model import ModelHub

from abaw_mm.errors import MissingFileError

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


def use_config_names() -> None:
    """Let configs inherit ours by name: ``_base_ = 'abaw_mm::res18_srp_affwild2.py'``.

    mmengine resolves ``<package>::<folder>/<config>`` for OpenMMLab's own packages only. A second
    call has no effect.
    """
    resolve = Config._get_cfg_path
    if getattr(resolve, 'knows_abaw_mm', False):
        return

    @functools.wraps(resolve)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        if package != PACKAGE.name or not name:
            return resolve(cfg_path, filename)
        path = find_config_root() / 'configs' / name
        if not path.is_file():
            names = ', '.join(sorted(path.name for path in path.parent.glob('*.py'))[:3])
            raise MissingFileError(
                f'{filename}: _base_: got {cfg_path!r}, expected the name of a config in '
                f'{path.parent}, such as {names}; correct the name'
            )
        return str(path), None

    get_cfg_path.knows_abaw_mm = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_cfg_path)
