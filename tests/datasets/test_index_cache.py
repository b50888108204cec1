"""The cached index: found again, made anew when it should be, never half, never a crash."""

import logging
import multiprocessing as mp
import os
import pickle
import time

import numpy as np
import pytest
from mmengine.logging import MMLogger

from abaw_mm import files as atomic_write
from abaw_mm.datasets import (
    AffWild2Dataset,
    index_cache,
)
from abaw_mm.datasets import affwild2 as affwild2_module
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.crop_packer import pack_crops
from abaw_mm.datasets.frame_index import (
    COLUMNS,
    FrameIndex,
)

ANN_FILE = 'annotations/EXPR_Recognition_Challenge/Train_Set'


@pytest.fixture
def settled(tiny, monkeypatch):
    """The tiny data root, as if it had been unpacked long ago."""
    settle(monkeypatch)
    return tiny


def settle(monkeypatch):
    """Take what changed just now for settled; nobody can put back the time of a change."""
    monkeypatch.setattr(index_cache, 'UNSETTLED', -60.0)


@pytest.fixture
def reads(monkeypatch):
    """How often crops were listed."""
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
    dataset = AffWild2Dataset(**{**dict(data_root=str(root), ann_file=ANN_FILE), **kwargs})
    return dataset


def rows(dataset):
    frames = dataset.frames
    return [frames.clips, *(getattr(frames, name).tolist() for name in COLUMNS), frames.counts]


def test_second_start_lists_nothing(settled, reads):
    first = load(settled)
    assert [path.name[:10] for path in (settled / '.frame_index').iterdir()] == ['Train_Set-']
    second = load(settled)
    assert len(reads) == 1
    assert rows(first) == rows(second) == rows(load(settled, index_cache=None))
    assert all(first[i] == second[i] for i in range(len(first)))
    for name, dtype in COLUMNS.items():
        column = getattr(second.frames, name)
        assert isinstance(column, np.memmap) and not column.flags.writeable
        assert column.dtype == dtype


def test_a_list_of_frames_is_cached_too(settled, reads):
    first = load(settled, ann_file='test_set_format.txt')
    second = load(settled, ann_file='test_set_format.txt')
    assert len(reads) == 1
    assert rows(first) == rows(second)
    assert first.listed.root_id.tolist() == second.listed.root_id.tolist() == [0, 0, -1, 0]


def test_pickled_rows_are_whole(settled):
    load(settled)
    dataset = load(settled)
    assert rows(pickle.loads(pickle.dumps(dataset))) == rows(dataset)


def test_a_pickle_holds_the_path_and_not_the_rows(settled):
    """What a spawned worker gets; it reads the map that is there."""
    small = load(settled)
    size, number = len(pickle.dumps(small)), 200_000
    column = np.arange(number)
    cache = index_cache.IndexCache(
        settled / '.frame_index', str(settled / ANN_FILE), small._roots, large=True
    )
    cache.save(
        FrameIndex(small.frames.clips, *(column.astype(dtype) for dtype in COLUMNS.values()))
    )
    dataset = load(settled)
    dataset.frames = cache.load()
    assert dataset.frames.frame_no.nbytes == 4 * number
    data = pickle.dumps(dataset)
    assert len(data) < size + 1000  # bytes, against 2 million of the columns
    again = pickle.loads(data).frames
    for name in COLUMNS:
        assert isinstance(getattr(again, name), np.memmap)
        np.testing.assert_array_equal(getattr(again, name), getattr(dataset.frames, name))
    with mp.get_context('spawn').Pool(1) as pool:
        assert pool.apply(last_number, (dataset.frames,)) == number - 1
    assert len(pickle.dumps(dataset.get_subset([1, 2]))) < size + 1000  # its rows alone


def last_number(frames):
    return int(frames.frame_no[-1])


def test_a_pickle_of_an_index_that_was_made_anew_is_refused(settled):
    load(settled)
    data = pickle.dumps(load(settled))
    change_label(settled)
    load(settled)
    with pytest.raises(ValueError, match='made anew since this run began.*start the run again'):
        pickle.loads(data)


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(clips=['video10_left']),
        dict(data_prefix=['cropped_aligned', 'annotations']),
        dict(filename_tmpl='{:05d}.png'),
    ],
)
def test_each_setting_has_an_index_of_its_own(settled, reads, kwargs):
    load(settled)
    load(settled, **kwargs)
    assert len(reads) == 2
    assert rows(load(settled, **kwargs)) == rows(load(settled, index_cache=None, **kwargs))
    assert len(list((settled / '.frame_index').iterdir())) == 2


def test_an_index_serves_where_the_data_is_mounted_elsewhere(settled, reads, tmp_path):
    load(settled)
    settled.rename(tmp_path / 'elsewhere')
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


def add_crop_and_put_back_the_time(root):
    folder = root / 'cropped_aligned/video10_left'
    times = folder.stat().st_atime_ns, folder.stat().st_mtime_ns
    add_crop(root)
    os.utime(folder, ns=times)


def change_label_and_put_back_the_time(root):
    path = root / ANN_FILE / 'video10_left.txt'
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    change_label(root)
    os.utime(path, ns=times)


@pytest.mark.parametrize(
    'change',
    [
        add_crop,
        remove_crop,
        change_label,
        add_clip,
        remove_clip,
        add_crop_and_put_back_the_time,
        change_label_and_put_back_the_time,
    ],
)
def test_what_changed_is_read_anew(settled, reads, change):
    before = rows(load(settled))
    change(settled)
    after = rows(load(settled))
    assert after != before
    assert after == rows(load(settled, index_cache=None))


def test_what_changed_just_now_is_not_kept(tiny, reads, monkeypatch):
    """A download may go on, with no later time to show for it."""
    load(tiny)
    assert not (tiny / '.frame_index').exists()
    settle(monkeypatch)
    load(tiny)
    load(tiny)
    assert len(reads) == 2


def test_times_in_the_future_are_told_once(settled, warnings, monkeypatch):
    monkeypatch.setattr(index_cache, 'UNSETTLED', 2.0)
    future = time.time() + 1e6
    os.utime(settled / 'cropped_aligned/video10_left', (future, future))
    for _ in range(2):
        load(settled)
    [line] = set(warnings())  # the logger shows the same words once
    assert 'dated in the future' in line and 'no frame index is kept' in line
    assert time.strftime('%Y-%m-%d', time.localtime(future)) in line
    assert not (settled / '.frame_index').exists()


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
)
def test_a_damaged_file_is_made_anew(settled, reads, warnings, damage):
    expected = rows(load(settled))
    path = next((settled / '.frame_index').iterdir())
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert rows(load(settled)) == expected
    assert path.read_bytes() == whole
    assert len(reads) == 2
    assert damage(whole) == b'' or 'damaged' in warnings()[0]


def test_a_folder_that_cannot_be_written_is_one_warning(settled, warnings):
    (settled / '.frame_index').write_text('in the way')
    expected = rows(load(settled, index_cache=None))
    assert rows(load(settled)) == expected
    assert len(set(warnings())) == 1 and 'Cannot keep a frame index' in warnings()[0]
    assert (settled / '.frame_index').read_text() == 'in the way'


def test_a_full_disk_is_one_warning_and_leaves_nothing(settled, warnings, monkeypatch):
    def fails(source, target):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(atomic_write.os, 'replace', fails)
    assert len(load(settled)) > 0
    assert len(set(warnings())) == 1 and 'No space left on device' in warnings()[0]
    assert not list((settled / '.frame_index').iterdir())


def _open(root, barrier, results):
    seen = []
    for _ in range(20):
        for path in (root / '.frame_index').glob('*.index'):
            path.unlink(missing_ok=True)
        barrier.wait()
        seen.append(rows(load(root)))
    results.put(seen)


def test_two_processes_at_once(settled):
    """One opens while the other writes, again and again; both always see whole rows."""
    expected = rows(load(settled, index_cache=None))
    context = mp.get_context('fork')
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_open, args=(settled, barrier, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    seen = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert all(each == expected for part in seen for each in part)
    assert len(list((settled / '.frame_index').iterdir())) == 1


def test_an_index_of_a_packed_store_knows_when_it_was_packed_anew(settled, reads):
    store = settled / 'cropped_aligned.lmdb'
    pack_crops(CropFolder(settled / 'cropped_aligned'), str(store))
    first = load(settled, data_prefix=store.name)
    second = load(settled, data_prefix=store.name)
    assert len(reads) == 1
    assert rows(first) == rows(second) == rows(load(settled))
    assert second[0]['img_path'].startswith('lmdb://')
    os.utime(store / 'data.mdb')
    load(settled, data_prefix=store.name)
    assert len(reads) == 3
