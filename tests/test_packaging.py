"""Test setup.py, the pinned requirements, the wheel, and metadata that repeats its figures."""

import re
import subprocess
import sys
import zipfile
from importlib.metadata import distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import abaw_mm
from abaw_mm.cli.console import COMMANDS
from abaw_mm.compat import versions

REPO = Path(__file__).parents[1]


def test_setup_states_ranges_of_import_check():
    text = (REPO / 'setup.py').read_text()
    for low, high, pip in versions.SUPPORTED.values():
        stated = re.search(rf"'{pip}(>=[^']+)'", text).group(1)
        assert stated == f'>={low}' + (f',<{high}' if high else '')


def test_editable_install_has_metadata():
    assert any(line.startswith('mmpretrain') for line in requires('abaw_mm'))


@pytest.mark.parametrize('name', ['openmmlab', 'onedl'])
def test_pinned_versions_are_supported(name):
    for line in (REPO / f'requirements/{name}.txt').read_text().splitlines():
        match = re.match(r'(?:onedl-)?([\w-]+)==([\d.]+)', line)
        if match is None:
            continue
        for low, high, pip in versions.SUPPORTED.values():
            if pip.removesuffix('-lite') == match.group(1).removesuffix('-lite'):
                version = versions.parse_release(match.group(2))
                assert version >= versions.parse_release(low)
                assert high is None or version < versions.parse_release(high)


def read_pins(name):
    """Return the pins of a requirements file for this Python: name to version."""
    lines = (REPO / f'requirements/{name}.txt').read_text().splitlines()
    pins = [Requirement(line.split('#')[0]) for line in lines if line.split('#')[0].strip()]
    return {
        canonicalize_name(pin.name): str(pin.specifier)
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


@pytest.mark.skipif(sys.version_info < (3, 11), reason='cuda.txt is for Python 3.11 and later')
def test_requirements_for_cuda_are_the_stack_and_all_that_it_needs():
    """But PyTorch, which a machine with a GPU has."""
    pins, stack = read_pins('cuda'), read_pins('openmmlab')
    installed = {canonicalize_name(d.metadata['Name']): d for d in distributions()}
    if 'mmengine' not in installed:
        pytest.skip('another stack is installed')
    own = {'torch', 'torchvision'}
    todo, needed = ['pytest', *stack], set()
    while todo:
        name = todo.pop()
        if name in needed or name in own:
            continue
        needed.add(name)
        for line in installed[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({'extra': ''}):
                todo.append(canonicalize_name(requirement.name))
    assert set(pins) >= needed and not set(pins) & own
    for name in stack.keys() - own - {'av', 'onnxruntime'}:  # these depend on the Python
        assert pins[name] == stack[name]


def test_citation_has_package_version():
    assert f'version: {abaw_mm.__version__}\n' in (REPO / 'CITATION.cff').read_text()


@pytest.mark.parametrize('name', ['openmmlab', 'onedl'])
def test_pinned_versions_satisfy_the_requirements_of_the_package(name):
    lines = (REPO / f'requirements/{name}.txt').read_text().splitlines()
    pins = [Requirement(line) for line in lines if re.match(r'[\w-]+==', line)]
    ranges = {need.name: need.specifier for need in map(Requirement, requires('abaw_mm'))}
    assert sum(pin.name in ranges for pin in pins) > 10
    for pin in pins:
        (version,) = [spec.version for spec in pin.specifier]
        assert version in ranges.get(pin.name, SpecifierSet()), pin


def test_wheel_contains_package(tmp_path):
    subprocess.run(
        [
            sys.executable,
            '-c',
            (
                'from setuptools.build_meta import build_wheel; '
                f'print(build_wheel({str(tmp_path)!r}))'
            ),
        ],
        cwd=REPO,
        check=True,
        stdout=subprocess.PIPE,
    )
    (wheel,) = tmp_path.glob('*.whl')
    names = zipfile.ZipFile(wheel).namelist()
    for path in (
        p for kind in ('*.py', '*.j2', 'py.typed') for p in (REPO / 'abaw_mm').rglob(kind)
    ):
        assert path.relative_to(REPO).as_posix() in names
    # What the console runs: its commands, what starts processes, and the configs.
    console = {REPO / script for script in COMMANDS.values()} | {REPO / 'tools/launch.py'}
    for path in console.union((REPO / 'demo').glob('*.py'), (REPO / 'configs').rglob('*.py')):
        assert f'abaw_mm/.mim/{path.relative_to(REPO).as_posix()}' in names
    assert wheel.name.startswith(f'abaw_mm-{abaw_mm.__version__}-')
