"""tools/dataset_converters/pack_affwild2.py: packing, verifying, and resuming after a kill."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import pytest

from abaw_mm.datasets.crops.packed_crops import CLIP_KEY

REPO = Path(__file__).parents[2]
TOOL = 'dataset_converters/pack_affwild2.py'
CLIPS, CROPS = 30, 8
BLOCKED = 12  # the clip in which packing is killed


def start(*args):
    """Start the command in another process."""
    path = os.pathsep.join([str(REPO), os.environ.get('PYTHONPATH', '')])
    return subprocess.Popen(
        [sys.executable, str(REPO / 'tools' / TOOL), *map(str, args)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': path},
    )


@pytest.fixture
def run(run_tool):
    return lambda *args: run_tool(TOOL, *args)


def write_crops(root):
    rng = random.Random(0)
    for clip in range(CLIPS):
        (root / f'video{clip:02d}').mkdir(parents=True)
        for number in range(1, CROPS + 1):
            path = root / f'video{clip:02d}/{number:05d}.jpg'
            path.write_bytes(rng.randbytes(rng.randint(500, 6000)))


def stored(store):
    """Count the clips and keys of a store, which may be in use."""
    if not (store / 'data.mdb').is_file() or not (store / 'data.mdb').stat().st_size:
        return 0, 0
    with lmdb.open(str(store), readonly=True, lock=False) as env, env.begin() as txn:
        clips = sum(key.startswith(CLIP_KEY) for key in txn.cursor().iternext(values=False))
        return clips, txn.stat()['entries']


@pytest.mark.slow
def test_killed_packing_resumes(tmp_path, run):
    root, store = tmp_path / 'crops', tmp_path / 'crops.lmdb'
    write_crops(root)
    status, out, errors = run(root, tmp_path / 'undisturbed.lmdb')
    assert status == 0, errors
    size = sum(path.stat().st_size for path in root.rglob('*.jpg'))
    assert out.startswith(
        f'{tmp_path}/undisturbed.lmdb: {CLIPS} clips, {CLIPS * CROPS} crops, '
        f'{size / 1e9:.3f} GB, checksum '
    )
    assert out.endswith("; in the dataset: data_prefix='undisturbed.lmdb'\n")

    # Reading a pipe blocks, so the packer is killed while it packs this clip.
    crop = root / f'video{BLOCKED}/00005.jpg'
    content = crop.read_bytes()
    crop.unlink()
    os.mkfifo(crop)
    packer = start(root)
    try:
        patience = time.monotonic() + 120
        while stored(store)[0] < BLOCKED:
            assert packer.poll() is None and time.monotonic() < patience
            time.sleep(0.02)
        second = start(root)
        try:
            _, errors = second.communicate(timeout=120)
        finally:
            second.kill()
        assert second.returncode == 1
        assert f'crops.lmdb is in use by process {packer.pid} on ' in errors
    finally:
        packer.kill()
        packer.communicate()
    assert stored(store) == (BLOCKED, BLOCKED * (CROPS + 1))  # nothing of the interrupted clip
    status, _, errors = run(root, '--verify')
    assert status == 1 and 'unfinished store' in errors

    # Complete clips are not read again: reading one of these pipes would block.
    crop.unlink()
    crop.write_bytes(content)
    complete = [path for i in range(BLOCKED) for path in (root / f'video{i:02d}').iterdir()]
    for path in complete:
        path.rename(tmp_path / f'{path.parent.name}_{path.name}')
        os.mkfifo(path)
    packer = start(root)
    try:
        resumed, errors = packer.communicate(timeout=120)
    finally:
        packer.kill()
    assert packer.returncode == 0, errors
    assert resumed.replace('crops.lmdb', 'undisturbed.lmdb') == out

    for path in complete:
        path.unlink()
        (tmp_path / f'{path.parent.name}_{path.name}').rename(path)
    assert run(root, '--verify')[:2] == (0, resumed)


def test_damaged_copy_is_detected(tmp_path, run):
    root = tmp_path / 'crops'
    write_crops(root)
    assert run(root, '--no-verify')[0] == 0
    copy = tmp_path / 'copy.lmdb'
    (tmp_path / 'crops.lmdb').rename(copy)
    assert run(tmp_path / 'not here', copy, '--verify')[0] == 0
    with lmdb.open(str(copy), lock=False) as env, env.begin(write=True) as txn:
        txn.put(b'video03/00002.jpg', b'not what it was')
    for args in ((tmp_path / 'not here', copy, '--verify'), (root, copy)):
        status, out, errors = run(*args)
        assert (status, out) == (1, '')
        assert "clip 'video03': the crops in the store differ from their checksum" in errors


def test_user_errors(tmp_path, run):
    status, _, errors = run(tmp_path / 'gone')
    assert status == 2 and 'ROOT: got no folder' in errors
    (tmp_path / 'crops/a').mkdir(parents=True)
    (tmp_path / 'crops/a/00001.jpg').touch()
    status, _, errors = run(tmp_path / 'crops')
    assert status == 1 and 'a/00001.jpg: got a file of zero bytes' in errors
    status, _, errors = run(tmp_path / 'crops', '--verify', '--no-verify')
    assert status == 2 and 'not allowed with argument' in errors
    status, _, errors = run(tmp_path / 'crops', '--workers', 0)
    assert status == 2 and '--workers: got 0' in errors
