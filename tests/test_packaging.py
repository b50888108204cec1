"""Test setup.py, the pinned requirements, the wheel, and metadata that repeats its figures."""

import re
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

import abaw_mm
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


def test_citation_has_package_version():
    assert f'version: {abaw_mm.__version__}\n' in (REPO / 'CITATION.cff').read_text()


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
    names = zipfile.ZipFile(next(tmp_path.glob('*.whl'))).namelist()
    for path in (
        p for kind in ('*.py', '*.j2', 'py.typed') for p in (REPO / 'abaw_mm').rglob(kind)
    ):
        assert path.relative_to(REPO).as_posix() in names
    assert abaw_mm.__version__ in next(tmp_path.glob('*.whl')).name
