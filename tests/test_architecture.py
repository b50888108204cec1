"""Test the architecture that CONTRIBUTING.md describes: imports run one way, folders stay small."""

import ast
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
PACKAGE = REPO / 'abaw_mm'
MAX_MODULES = 12  # per folder, besides __init__.py

# A subpackage may import only from subpackages of a lower rank; those of one rank are
# independent. Modules at the top, such as errors.py, count as subpackages.
RANKS = {
    'checks': 1,
    'errors': 0,
    'version': 0,
    'files': 1,
    'model_index': 1,
    'progress': 1,
    'compat': 2,
    'structures': 2,
    'checkpoints': 3,
    'datasets': 3,
    'evaluation': 4,
    'models': 4,
    'engine': 5,
    'visualization': 6,
    'video': 6,
    'audio': 7,
    'apis': 8,
    'cli': 9,
    'paper': 9,
}
# abaw_mm/__init__.py is imported before everything else. It registers these subpackages and
# no other.
REGISTERED = {
    'checkpoints',
    'compat',
    'datasets',
    'engine',
    'evaluation',
    'model_index',
    'models',
    'structures',
    'version',
}
MODULES = sorted(PACKAGE.rglob('*.py'))
FOLDERS = sorted({path.parent for path in MODULES})


def get_name(path: Path) -> str:
    """Return the dotted name of a module.

    >>> get_name(PACKAGE / 'cli/__init__.py'), get_name(PACKAGE / 'files.py')
    ('abaw_mm.cli', 'abaw_mm.files')
    """
    parts = path.relative_to(REPO).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def find_imports(source: str, name: str, is_package: bool) -> set[str]:
    """Return the names below ``abaw_mm`` that a module imports anywhere in its source.

    Imports inside functions and under TYPE_CHECKING count, and so do imported objects, as
    'module.object': whether the object is a module does not matter here.

    >>> code = 'def f():\\n    from ..b import c\\nimport os, abaw_mm.d'
    >>> sorted(find_imports(code, 'abaw_mm.a.x', is_package=False))
    ['abaw_mm.b', 'abaw_mm.b.c', 'abaw_mm.d']
    """
    imports = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = name.split('.')[: len(name.split('.')) - node.level + is_package]
            start = '.'.join(
                [*(base if node.level else []), *([node.module] if node.module else [])]
            )
            imports |= {start, *(f'{start}.{alias.name}' for alias in node.names)}
    return {item for item in imports if item.startswith('abaw_mm.')}


def get_subpackage(name: str) -> str:
    """Return the subpackage of a dotted name.

    >>> get_subpackage('abaw_mm.models.necks')
    'models'
    """
    return name.split('.')[1]


def find_edges() -> set[tuple[str, str]]:
    """Return (importing module, imported module) for all modules below the package root."""
    modules = {get_name(path) for path in MODULES}
    return {
        (name, target)
        for path in MODULES
        if (name := get_name(path)) != 'abaw_mm'
        for target in find_imports(path.read_text(), name, path.stem == '__init__') & modules
        if target != name
    }


def test_every_subpackage_has_a_rank():
    assert {
        get_subpackage(get_name(path)) for path in MODULES if get_name(path) != 'abaw_mm'
    } == set(RANKS)


def test_imports_run_one_way():
    upwards = [
        f'{name} -> {target}'
        for name, target in sorted(find_edges())
        if get_subpackage(name) != get_subpackage(target)
        and RANKS[get_subpackage(name)] <= RANKS[get_subpackage(target)]
    ]
    assert not upwards, '\n'.join(upwards)


def test_package_root_imports_registered_subpackages_only():
    source = (PACKAGE / '__init__.py').read_text()
    assert {get_subpackage(name) for name in find_imports(source, 'abaw_mm', True)} == REGISTERED
    for path in MODULES:  # modules import from each other, not from the root
        lines = [line.strip() for line in path.read_text().splitlines()]
        assert 'import abaw_mm' not in lines and not any(
            line.startswith('from abaw_mm import') for line in lines
        ), path


def test_subpackages_do_not_import_each_other_in_a_cycle():
    below = {part: set() for part in RANKS}
    for name, target in find_edges():
        below[get_subpackage(name)].add(get_subpackage(target))
    free: set[str] = set()
    while ready := {part for part in below if part not in free and below[part] <= free | {part}}:
        free |= ready
    assert free == set(RANKS), f'in a cycle, or above one: {sorted(set(RANKS) - free)}'


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
def test_folder_has_a_docstring_and_stays_small(folder):
    init = folder / '__init__.py'
    assert ast.get_docstring(ast.parse(init.read_text())), f'{init} has no docstring'
    modules = [path.name for path in folder.glob('*.py') if path != init]
    assert len(modules) <= MAX_MODULES, f'{folder} has {len(modules)} modules'


def test_tests_mirror_the_package():
    """Every folder of tests names a folder of the package, except the tests of other folders."""
    root = REPO / 'tests'
    others = {'demo', 'tools', 'benchmarks', 'faults', 'gpu'}
    for folder in {path.parent.relative_to(root) for path in root.rglob('test_*.py')}:
        if folder.parts and folder.parts[0] not in others:
            assert (PACKAGE / folder).is_dir(), f'tests/{folder} has no abaw_mm/{folder}'


def test_names_of_test_files_are_unique():
    """pytest imports test files by their base name."""
    names = [path.name for path in (REPO / 'tests').rglob('test_*.py')]
    assert len(names) == len(set(names))
