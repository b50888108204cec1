"""Check that the installed stack is one that this package supports."""

import importlib.util
import re
from importlib import import_module
from pathlib import Path

# Module: lowest version, first version too new (None: any), what pip calls it. The module's own
# version counts: the onedl-* continuation has the same modules under other names at the index.
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
    """Check that the stack is one that this package was made for.

    Raises:
        ImportError: If a package is missing or out of :data:`SUPPORTED`, with the mending command.
    """
    for name, (lowest, too_new, package) in SUPPORTED.items():
        got = _version_of(name)
        if (
            got is not None
            and _release(got) >= _release(lowest)
            and (too_new is None or _release(got) < _release(too_new))
        ):
            continue
        wanted = f'>={lowest}' + (f',<{too_new}' if too_new else '')
        raise ImportError(
            f'abaw_mm does not run with this {name}: got {got or "none installed"}, expected '
            f"{wanted}; mend it with `pip install '{package}{wanted}'`, or install "
            'requirements/openmmlab.txt or requirements/onedl.txt in a fresh environment',
            name=name,
        )


def _release(version: str) -> tuple[int, ...]:
    # packaging would do it, but comes with mmengine, which may be what is missing.
    return tuple(int(number) for number in re.match(r'\d+(\.\d+)*', version)[0].split('.'))


def _version_of(name: str) -> str | None:
    """``__version__`` of a module, None if there is no such module."""
    if name == 'mmpretrain':
        # Its import asserts mmcv's version in its own words: read the version without it.
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).with_name('version.py')
        spec = importlib.util.spec_from_file_location('_mmpretrain_version', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.__version__
    try:
        return import_module(name).__version__
    except ModuleNotFoundError as error:
        if error.name != name:  # it is there, and lacks something else
            raise
        return None
