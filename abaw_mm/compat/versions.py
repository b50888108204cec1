"""Check that the installed packages have supported versions."""

import importlib.util
import re
from importlib import import_module
from pathlib import Path

from abaw_mm.errors import MissingPackageError

# Module: lowest version, first unsupported version (None: no limit), name of the package for pip.
# Versions are read from the modules: onedl-* packages install the same modules as OpenMMLab's.
SUPPORTED = {
    'torch': ('2.4', None, 'torch'),  # fused SGD on the CPU
    'numpy': ('1.23', None, 'numpy'),
    'PIL': ('9.1', None, 'pillow'),
    'mmengine': ('0.10.4', '0.12', 'mmengine'),
    'mmcv': ('2.0', '2.4', 'mmcv-lite'),
    'mmpretrain': ('1.2', '1.4', 'mmpretrain'),
    'safetensors': ('0.4', None, 'safetensors'),
}


def check_versions() -> None:
    """Check the installed packages against :data:`SUPPORTED`.

    Raises:
        MissingPackageError: If a package is missing or has an unsupported version.
    """
    for name, (lowest, limit, package) in SUPPORTED.items():
        version = _find_version(name)
        if version is not None and _is_supported(version, lowest, limit):
            continue
        wanted = f'>={lowest}' + (f',<{limit}' if limit else '')
        raise MissingPackageError(
            f'abaw_mm does not support this {name}: got {version or "none installed"}, expected '
            f"{wanted}; run `pip install '{package}{wanted}'`, or install "
            'requirements/openmmlab.txt or requirements/onedl.txt in a fresh environment',
            name=name,
        )


def parse_release(version: str) -> tuple[int, ...]:
    """Parse the release numbers of a version; local and pre-release labels are ignored.

    Not from ``packaging``, which is installed with mmengine and may be missing with it.

    >>> parse_release('2.13.0+cpu')
    (2, 13, 0)
    """
    release = re.match(r'\d+(\.\d+)*', version)
    if release is None:
        raise ValueError(f'got the version {version!r}, expected numbers separated by dots')
    return tuple(int(number) for number in release[0].split('.'))


def _is_supported(version: str, lowest: str, limit: str | None) -> bool:
    release = parse_release(version)
    return release >= parse_release(lowest) and (limit is None or release < parse_release(limit))


def _find_version(name: str) -> str | None:
    """Return ``__version__`` of a module, None if there is no such module."""
    if name == 'mmpretrain':  # importing it asserts the version of mmcv, without advice
        return _read_mmpretrain_version()
    try:
        return import_module(name).__version__
    except ModuleNotFoundError as error:
        if error.name != name:  # the module exists, but one of its own imports does not
            raise
        return None


def _read_mmpretrain_version() -> str | None:
    """Read mmpretrain's version from its ``version.py``, without importing the package."""
    package = importlib.util.find_spec('mmpretrain')
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name('version.py')
    spec = importlib.util.spec_from_file_location('_mmpretrain_version', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__version__
