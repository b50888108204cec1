"""Test the example in an environment that has onnxruntime, NumPy and Pillow, and no torch."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_onnx import write_network

REPO = Path(__file__).parents[2]
PACKAGES = ('numpy', 'numpy.libs', 'onnxruntime', 'PIL', 'pillow.libs')


@pytest.fixture
def run(tmp_path):
    """Run Python with nothing but its own modules and links to the packages of the example."""
    pytest.importorskip('onnxruntime')
    site, folder = Path(sysconfig.get_paths()['purelib']), tmp_path / 'packages'
    folder.mkdir()
    for name in PACKAGES:
        if (site / name).exists():
            (folder / name).symlink_to(site / name)

    def start(*args):
        return subprocess.run(
            [sys.executable, '-S', *map(str, args)],  # no site-packages
            env={'PYTHONPATH': str(folder), 'PATH': os.environ['PATH']},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return start


def test_example_needs_three_packages_only(run, tmp_path):
    for name in 'torch', 'mmpretrain', 'abaw_mm', 'cv2':
        assert f"No module named '{name}'" in run('-c', f'import {name}').stderr
    write_network(tmp_path / 'net.onnx')
    crops = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    for number, crop in enumerate(crops):
        Image.fromarray(crop).save(tmp_path / f'{number}.png')
    result = run(REPO / 'demo/predict_onnx.py', 'net.onnx', '0.png', '1.png', '2.png')
    assert result.returncode == 0, result.stderr
    want = crops.reshape(3, -1)[:, :8]  # the network returns the first bytes
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows == [
        [f'{number}.png', 'abcdefgh'[row.argmax()], f'{row.max():.4f}']
        for number, row in enumerate(want.astype(float))
    ]


def test_example_is_short():
    code = (REPO / 'demo/predict_onnx.py').read_text().split('"""')[2]
    assert len(code.strip().splitlines()) <= 20
