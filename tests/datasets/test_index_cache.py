"""Tests of the cached frame index: when it is used, when it is rebuilt, and damaged files."""

import logging
import multiprocessing as mp
import os
import pickle
import time

import numpy as np
import pytest
from mmengine.logging import MMLogger

from abaw_mm import files
from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.datasets import affwild2 as affwild2_module
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.crop_packer import pack_crops

ANN_FILE = 'annotations/EXPR_Recognition_Challenge/Train_Set'


@pytest.fixture
def reads(monkeypatch):
    """Return a list that gets one entry each time all crops are listed."""
    calls = []
    list_crops = affwild2_module.list_crops
    monkeypatch.setattr(
        affwild2_module, 'list_crops', lambda *args: calls.append(args) or list_crops(*args)
    )
    return calls


@pytest.fixture
def warnings(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    logger.removeHandler(caplog.handler)


def load(root, **kwargs):
    return AffWild2Dataset(**{**dict(data_root=str(root), ann_file=ANN_FILE), **kwargs})


def rows(dataset):
    frames = dataset.frames
    columns = {name: column.tolist() for name, column in frames.columns.items()}
    return [frames.clips, frames.clip_id.tolist(), frames.frame_no.tolist(), columns, frames.counts]


def test_second_start_lists_nothing(tiny, reads):
    first = load(tiny)
    assert [path.name[:10] for path in (tiny / '.frame_index').iterdir()] == ['Train_Set-']
    second = load(tiny)
    assert len(reads) == 1
    assert rows(first) == rows(second) == rows(load(tiny, index_cache=None))
    assert all(first[i] == second[i] for i in range(len(first)))
    frames = second.frames
    for column in (frames.clip_id, frames.frame_no, *frames.columns.values()):
        assert isinstance(column, np.memmap) and not column.flags.writeable
    assert rows(pickle.loads(pickle.dumps(second))) == rows(second)


def test_lists_of_frames_are_cached(tiny, reads):
    first, second = (load(tiny, ann_file='test_set_format.txt') for _ in range(2))
    assert len(reads) == 1 and rows(first) == rows(second)
    assert first.listed['source'].tolist() == second.listed['source'].tolist() == [0, 0, -1, 0]


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(clips=['video10_left']),
        dict(data_prefix=['cropped_aligned', 'annotations']),
        dict(filename_tmpl='{:05d}.png'),
    ],
)
def test_each_setting_has_its_own_index(tiny, reads, kwargs):
    load(tiny)
    load(tiny, **kwargs)
    assert len(reads) == 2
    assert rows(load(tiny, **kwargs)) == rows(load(tiny, index_cache=None, **kwargs))
    assert len(list((tiny / '.frame_index').iterdir())) == 2


def test_index_is_valid_after_moving_the_data(tiny, reads, tmp_path):
    load(tiny)
    tiny.rename(tmp_path / 'elsewhere')
    moved = load(tmp_path / 'elsewhere')
    assert len(reads) == 1
    assert os.path.isfile(moved[0]['img_path'])


def add_crop(root):
    source = root / 'cropped_aligned/video10_left/00001.jpg'
    (source.parent / '00003.jpg').write_bytes(source.read_bytes())


def remove_crop(root):
    (root / 'cropped_aligned/video10_left/00001.jpg').unlink()


def change_label(root):
    path = root / ANN_FILE / 'video10_left.txt'
    path.write_text(path.read_text().replace('\n0\n', '\n7\n'))


def add_clip(root):
    (root / ANN_FILE / 'video11.txt').write_text((root / ANN_FILE / 'video10_left.txt').read_text())


def remove_clip(root):
    (root / ANN_FILE / 'video10_left.txt').unlink()


def add_crop_and_restore_mtime(root):
    folder = root / 'cropped_aligned/video10_left'
    times = folder.stat().st_atime_ns, folder.stat().st_mtime_ns
    add_crop(root)
    os.utime(folder, ns=times)  # as rsync does


@pytest.mark.parametrize(
    'change',
    [add_crop, remove_crop, change_label, add_clip, remove_clip, add_crop_and_restore_mtime],
)
def test_changed_files_are_read_again(tiny, change):
    before = rows(load(tiny))
    time.sleep(0.02)  # file systems count time in ticks
    change(tiny)
    after = rows(load(tiny))
    assert after != before
    assert after == rows(load(tiny, index_cache=None))


def test_files_that_change_while_they_are_read_are_read_again(tiny, monkeypatch):
    list_crops = affwild2_module.list_crops

    def list_then_change(*args):
        crops = list_crops(*args)
        time.sleep(0.02)
        add_crop(tiny)
        return crops

    monkeypatch.setattr(affwild2_module, 'list_crops', list_then_change)
    load(tiny)
    monkeypatch.setattr(affwild2_module, 'list_crops', list_crops)
    assert rows(load(tiny)) == rows(load(tiny, index_cache=None))


@pytest.mark.parametrize(
    'damage',
    [
        lambda data: b'',
        lambda data: data[:10],
        lambda data: data[:25],
        lambda data: data[:-70],
        lambda data: b'x' + data[1:],
        lambda data: data.replace(b'"crc32": [', b'"crc33": ['),
        lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    ],
    ids=['empty', 'in magic', 'in header', 'cut off', 'magic', 'header', 'column'],
)
def test_damaged_file_is_rebuilt(tiny, reads, warnings, damage):
    expected = rows(load(tiny))
    path = next((tiny / '.frame_index').iterdir())
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert rows(load(tiny)) == expected
    assert path.read_bytes() == whole
    assert len(reads) == 2
    assert damage(whole) == b'' or 'damaged' in warnings()[0]


def test_folder_that_cannot_be_written_gives_one_warning(tiny, warnings):
    (tiny / '.frame_index').write_text('in the way')
    expected = rows(load(tiny, index_cache=None))
    assert rows(load(tiny)) == expected
    assert len(set(warnings())) == 1 and 'Cannot write a frame index' in warnings()[0]
    assert (tiny / '.frame_index').read_text() == 'in the way'


def test_full_disk_gives_one_warning_and_leaves_no_file(tiny, warnings, monkeypatch):
    def fail(source, target):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files.os, 'replace', fail)
    assert len(load(tiny)) > 0
    assert len(set(warnings())) == 1 and 'No space left on device' in warnings()[0]
    assert not list((tiny / '.frame_index').iterdir())


def _load_repeatedly(root, barrier, results):
    seen = []
    for _ in range(20):
        for path in (root / '.frame_index').glob('*.index'):
            path.unlink(missing_ok=True)
        barrier.wait()
        seen.append(rows(load(root)))
    results.put(seen)


def test_two_processes_read_and_write_at_once(tiny):
    expected = rows(load(tiny, index_cache=None))
    context = mp.get_context('fork')
    barrier, results = context.Barrier(2), context.Queue()
    arguments = (tiny, barrier, results)
    workers = [context.Process(target=_load_repeatedly, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    seen = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert all(each == expected for part in seen for each in part)
    assert len(list((tiny / '.frame_index').iterdir())) == 1


def test_index_of_a_store_is_rebuilt_when_the_store_changes(tiny, reads):
    store = tiny / 'cropped_aligned.lmdb'
    pack_crops(CropFolder(tiny / 'cropped_aligned'), str(store))
    first = load(tiny, data_prefix=store.name)
    second = load(tiny, data_prefix=store.name)
    assert len(reads) == 1
    assert rows(first) == rows(second) == rows(load(tiny))
    assert second[0]['img_path'].startswith('lmdb://')
    time.sleep(0.02)
    os.utime(store / 'data.mdb')
    load(tiny, data_prefix=store.name)
    assert len(reads) == 3
