"""What messages tell users to do exists: options of commands, files, and names of configs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).parents[1]
SOURCES = [path for name in ('abaw_mm', 'tools', 'demo') for path in (REPO / name).rglob('*.py')]
OTHERS = {
    *('--nproc_per_node', '--standalone', '--signal'),  # of torchrun and sbatch
    *('--no-deps', '--force-reinstall'),  # of pip
    *('--help', '--version', '--nproc'),  # of abaw-mm, see tests/cli/test_console.py
}


def list_texts() -> Iterator[tuple[Path, str]]:
    """Yield every text of the sources, docstrings included."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.relative_to(REPO), node.value


def list_options() -> set[str]:
    """Return the options that any command has."""
    calls = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())))
    return {
        argument.value
        for call in calls
        if isinstance(call, ast.Call) and getattr(call.func, 'attr', '') == 'add_argument'
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def test_every_option_that_is_named_exists():
    options = list_options() | OTHERS
    named = {
        (str(path), option)
        for path, text in list_texts()
        for option in re.findall(r'(?<![\w-])--[a-z][a-z0-9_-]*[a-z0-9]', text)
    }
    assert len(named) > 100
    assert not [found for found in named if found[1] not in options]


def test_every_file_that_is_named_exists():
    pattern = r'\b(?:tools|configs|docs|demo|benchmarks)/[a-z0-9_/]+\.(?:py|sh|md|yml)'
    named = {(str(path), name) for path, text in list_texts() for name in re.findall(pattern, text)}
    assert len(named) > 20
    assert not [found for found in named if not (REPO / found[1]).is_file()]
