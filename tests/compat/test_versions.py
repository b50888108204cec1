"""Unsupported versions are refused with the command that installs a supported one."""

import subprocess
import sys

import mmcv
import mmengine
import pytest
import torch

from abaw_mm.compat import versions


def test_installed_versions_are_supported():
    versions.check_versions()


@pytest.mark.parametrize(
    'module, version, expected',
    [
        (mmcv, '2.4.0', r'mmcv: got 2\.4\.0, expected >=2\.0,<2\.4.*mmcv-lite>=2\.0,<2\.4'),
        (mmengine, '0.10.3', r'mmengine: got 0\.10\.3, expected >=0\.10\.4,<0\.12'),
        (torch, '2.3.1+cu121', r"torch: got 2\.3\.1.*expected >=2\.4; .*pip install 'torch>=2\.4'"),
    ],
)
def test_error_of_unsupported_version_has_pip_command(monkeypatch, module, version, expected):
    monkeypatch.setattr(module, '__version__', version)
    with pytest.raises(ImportError, match=expected):
        versions.check_versions()


@pytest.mark.parametrize(
    'name, version', [('mmpretrain', '1.3.6'), ('mmcv', '2.3.3'), ('mmcv', '2.0.0rc4')]
)
def test_supported_version_is_accepted(monkeypatch, name, version):
    monkeypatch.setattr(versions, '_find_version', lambda name: version)
    monkeypatch.setattr(versions, 'SUPPORTED', {name: versions.SUPPORTED[name]})
    versions.check_versions()


def test_error_of_missing_package_has_pip_command(monkeypatch):
    monkeypatch.setattr(versions, 'SUPPORTED', {'no_such_module': ('1.0', None, 'no-such')})
    with pytest.raises(ImportError, match="none installed, expected >=1.0.*pip install 'no-such"):
        versions.check_versions()


def test_mmpretrain_version_is_read_without_import(monkeypatch, tmp_path):
    (tmp_path / 'mmpretrain').mkdir()
    (tmp_path / 'mmpretrain/__init__.py').write_text('raise AssertionError("was imported")')
    (tmp_path / 'mmpretrain/version.py').write_text("__version__ = '1.1.1'")
    monkeypatch.delitem(sys.modules, 'mmpretrain')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match=r'mmpretrain: got 1\.1\.1, expected >=1\.2,<1\.4'):
        versions.check_versions()


def test_versions_are_checked_before_other_imports():
    """Imports that fail on an unsupported stack do not hide the advice."""
    code = (
        'import sys, mmcv\n'
        'mmcv.__version__ = "2.4.0"\n'
        'try:\n'
        '    import abaw_mm\n'
        'except ImportError as error:\n'
        '    assert "mmcv: got 2.4.0" in str(error)\n'
        '    assert not {"torchvision", "mmpretrain"} & set(sys.modules)\n'
        'else:\n'
        '    raise AssertionError("was not refused")\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
