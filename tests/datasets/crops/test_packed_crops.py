"""Tests of packed crops: the same frames and pixels as the folder, and damaged stores."""

import copy
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import sys
import threading

import lmdb
import mmcv
import numpy as np
import pytest
import torch
from mmengine import fileio
from torch.utils.data import DataLoader

from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.datasets.crops import crop_packer
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.crop_packer import (
    pack_crops,
    summarize_store,
    verify_store,
)
from abaw_mm.datasets.crops.packed_crops import (
    STORE_KEY,
    PackedCrops,
    clip_key,
    close_store,
    crop_key,
    open_crops,
    read_records,
)
from abaw_mm.datasets.crops.store_pages import StorePages

TRAIN = 'annotations/EXPR_Recognition_Challenge/Train_Set'
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'clip', 'frame_no')),
]


def pack(root, crops='cropped_aligned', **kwargs):
    """Pack a folder of a data root and return the store."""
    store = str(root / f'{crops}.lmdb')
    pack_crops(CropFolder(root / crops, **kwargs), store, workers=2)
    return store


def dataset(root, prefix='cropped_aligned', **kwargs):
    kwargs = dict(dict(ann_file=TRAIN, pipeline=PIPELINE, test_mode=True), **kwargs)
    return AffWild2Dataset(data_root=str(root), data_prefix=prefix, **kwargs)


def assert_same(packed, plain, step=1):
    """Check that all frames, and the pixels of one frame in ``step``, are equal."""
    assert len(packed) == len(plain) > 0
    assert packed.frames.name_frames() == plain.frames.name_frames()
    for name in ('label', 'source'):
        np.testing.assert_array_equal(packed.frames[name], plain.frames[name])
    for at in range(0, len(plain), step):
        one, other = packed[at], plain[at]
        assert torch.equal(one['inputs'], other['inputs'])
        assert one['data_samples'].clip == other['data_samples'].clip


def write(store, key, value):
    """Change a key of a store; None removes it."""
    close_store(store)
    with lmdb.open(store, lock=False) as env, env.begin(write=True) as txn:
        txn.delete(key) if value is None else txn.put(key, value)


def read(store, key):
    with lmdb.open(store, lock=False, readonly=True) as env, env.begin() as txn:
        return txn.get(key)


# ------------------------------------------------------------------ equal to the folder


def test_equal_frames_and_pixels(tiny):
    store = pack(tiny)
    assert sorted(os.listdir(store)) == ['.lock', 'data.mdb']
    packed = dataset(tiny, 'cropped_aligned.lmdb')
    assert_same(packed, dataset(tiny))
    assert packed.get_data_info(2)['img_path'] == f'lmdb://{store}/1-30-1280x720/00004.jpg'
    assert verify_store(store, CropFolder(tiny / 'cropped_aligned')) == []
    crops = [p for p in (tiny / 'cropped_aligned').rglob('*.jpg')]
    summary = summarize_store(store)
    assert (summary.clips, summary.crops) == (6, len(crops))
    assert summary.bytes == sum(path.stat().st_size for path in crops)


def test_equal_on_real_faces(affwild2_mini, tmp_path):
    for part in ('annotations', 'cropped_aligned', 'test_set_format.txt'):
        (tmp_path / part).symlink_to(affwild2_mini / part)
    pack(tmp_path)
    assert_same(dataset(tmp_path, 'cropped_aligned.lmdb'), dataset(tmp_path), step=50)
    listed = dict(ann_file='test_set_format.txt', pipeline=())
    packed, plain = (
        dataset(tmp_path, prefix, **listed)
        for prefix in ('cropped_aligned.lmdb', 'cropped_aligned')
    )
    np.testing.assert_array_equal(packed.listed['source'], plain.listed['source'])


def test_bytes_equal_the_files(tiny):
    store = pack(tiny)
    for path in (tiny / 'cropped_aligned').rglob('*.jpg'):
        uri = f'lmdb://{store}/{path.parent.name}/{path.name}'
        assert fileio.get(uri) == path.read_bytes()
    for backend in ('cv2', 'pillow'):
        image = mmcv.imfrombytes(fileio.get(uri), backend=backend)
        np.testing.assert_array_equal(image, mmcv.imread(str(path), backend=backend))


def test_png_and_other_templates(tiny):
    folder = tiny / 'cropped_aligned/video10_left'
    (folder / '00005.jpg').rename(folder / '00005.png')
    shutil.copy(folder / '00006.jpg', folder / '00006.png')  # the .jpg is used
    (folder / 'thumbs.db').write_bytes(b'x')
    store = pack(tiny)
    assert_same(dataset(tiny, 'cropped_aligned.lmdb'), dataset(tiny))
    packed, plain = open_crops(store), open_crops(tiny / 'cropped_aligned')
    assert [part.tolist() for part in packed.frames('video10_left')] == (
        [part.tolist() for part in plain.frames('video10_left')]
    )
    assert '00006.png' not in packed.names('video10_left')
    assert 'thumbs.db' not in packed.names('video10_left')
    for number, path in enumerate(sorted((tiny / 'cropped_aligned/video65').iterdir()), start=1):
        path.rename(path.parent / f'img_{number}.jpg')
    shutil.rmtree(store)
    store = pack(tiny, filename_tmpl='img_{:d}.jpg')
    assert open_crops(store, 'img_{:d}.jpg').frames('video65')[0].tolist() == [1, 2, 3]
    assert open_crops(store).frames('video65')[0].tolist() == []  # as in a folder


def test_clips_equal_those_of_the_folder(tiny):
    (tiny / 'cropped_aligned/.hidden').mkdir()
    (tiny / 'cropped_aligned/readme.txt').touch()
    (tiny / 'cropped_aligned/empty').mkdir()
    (tiny / 'cropped_aligned/Gesicht ä').mkdir()
    shutil.copy(
        tiny / 'cropped_aligned/video65/00001.jpg', tiny / 'cropped_aligned/Gesicht ä/00001.jpg'
    )
    store = pack(tiny)
    plain = CropFolder(tiny / 'cropped_aligned')
    assert plain.clips() == sorted(
        [
            '1-30-1280x720',
            '5-60-1920x1080-1',
            'Gesicht ä',
            'empty',
            'face clip 3',
            'video10_left',
            'video11_right',
            'video65',
        ]
    )
    packed = open_crops(store + '/')
    assert packed.clips() == plain.clips()
    assert packed.frames('gone')[0].tolist() == []
    assert fileio.get(packed.path('Gesicht ä', 1)) == fileio.get(plain.path('video65', 1))
    assert type(open_crops(tiny)) is CropFolder


def test_folders_and_stores_together(tiny):
    plain = dataset(tiny)
    shutil.move(tiny / 'cropped_aligned/video10_left', tiny / 'new_50_vids/video10_left')
    pack(tiny)
    mixed = dataset(tiny, ['cropped_aligned.lmdb', 'new_50_vids'])
    paths = [mixed.get_data_info(i)['img_path'] for i in range(len(mixed))]
    assert {path.startswith('lmdb://') for path in paths} == {True, False}
    pack(tiny, 'new_50_vids')
    stores = dataset(tiny, ['cropped_aligned.lmdb', 'new_50_vids.lmdb'])
    assert_same(stores, mixed)
    assert mixed.frames['label'].tolist() == plain.frames['label'].tolist()


@pytest.mark.parametrize('start', ['fork', pytest.param('spawn', marks=pytest.mark.slow)])
def test_worker_processes(tiny, start):
    pack(tiny)
    packed, plain = dataset(tiny, 'cropped_aligned.lmdb'), dataset(tiny)
    packed[0]  # the parent's environment is open when the workers start
    loader = DataLoader(packed, batch_size=None, num_workers=2, multiprocessing_context=start)
    for one, other in zip(loader, plain, strict=True):
        assert torch.equal(one['inputs'], other['inputs'])
    packed[0]  # and still open after they have ended


def test_forked_process_reads_the_same_store(tiny):
    pack(tiny)
    packed = dataset(tiny, 'cropped_aligned.lmdb')
    before = packed[0]['inputs']

    def child(results):
        results.put(torch.equal(packed[0]['inputs'], before))

    context = multiprocessing.get_context('fork')
    results = context.SimpleQueue()
    process = context.Process(target=child, args=(results,))
    process.start()
    process.join(60)
    assert process.exitcode == 0 and results.get()
    packed[0]


def test_copies_pickles_links_and_relative_paths(tiny, monkeypatch):
    store = pack(tiny)
    packed = dataset(tiny, 'cropped_aligned.lmdb')
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert_same(other, packed)
    (tiny / 'link.lmdb').symlink_to(store)
    assert_same(dataset(tiny, 'link.lmdb'), packed)
    monkeypatch.chdir(tiny)
    assert_same(dataset('', 'cropped_aligned.lmdb'), packed)


def test_lazy_dataset_opens_no_store(tmp_path):
    dataset(tmp_path, 'gone.lmdb', lazy_init=True)
    with pytest.raises(FileNotFoundError, match='gone.lmdb'):
        dataset(tmp_path, 'gone.lmdb')


# ------------------------------------------------------------------ errors


def test_missing_package_lmdb(tiny, monkeypatch):
    store = pack(tiny)
    close_store(store)
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    assert_same(dataset(tiny, 'cropped_aligned.lmdb'), dataset(tiny))  # only packing needs it
    with pytest.raises(ImportError, match='pip install lmdb'):
        pack(tiny)


def test_missing_crop_and_invalid_path(tiny):
    store = pack(tiny)
    for path in (f'lmdb://{store}/video65/00003.jpg', 'lmdb://x'):
        with pytest.raises(FileNotFoundError, match='no such crop'):
            fileio.get(path)
    with pytest.raises(FileNotFoundError, match=r'got no data\.mdb'):
        fileio.get(f'lmdb://{tiny}/video65/00001.jpg')


def test_rejects_unfinished_store_and_other_format(tiny):
    store = pack(tiny)
    write(store, STORE_KEY, None)
    with pytest.raises(ValueError, match='unfinished store.*again to continue'):
        dataset(tiny, 'cropped_aligned.lmdb')
    with pytest.raises(ValueError, match='unfinished store'):
        verify_store(store)
    pack(tiny)
    assert_same(dataset(tiny, 'cropped_aligned.lmdb'), dataset(tiny))
    write(store, STORE_KEY, b'2 0')
    with pytest.raises(ValueError, match="marked b'2 0', expected the format 1"):
        dataset(tiny, 'cropped_aligned.lmdb')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'got a damaged or wrong file'),
        (b'x' * 9999, 'no head of an LMDB store'),
        (None, 'the copy was cut off'),
    ],
)
def test_rejects_damaged_file(tiny, content, message):
    store = pack(tiny)
    close_store(store)
    data = tiny / 'cropped_aligned.lmdb/data.mdb'
    data.write_bytes(data.read_bytes()[:-4096] if content is None else content)
    with pytest.raises(ValueError, match=message):
        dataset(tiny, 'cropped_aligned.lmdb')


def test_rejects_folder_without_crops(tmp_path):
    (tmp_path / 'crops/a').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r'got 1 sub-folders and no crop.*--filename-tmpl'):
        pack(tmp_path, 'crops')
    assert not (tmp_path / 'crops.lmdb').exists()


def test_rejects_places_that_are_not_a_store(tiny, tmp_path):
    source = CropFolder(tiny / 'cropped_aligned')
    with pytest.raises(ValueError, match=r'ends in \.lmdb'):
        pack_crops(source, str(tmp_path / 'store'))
    (tmp_path / 'a.lmdb').mkdir()
    (tmp_path / 'a.lmdb/notes.txt').touch()
    with pytest.raises(ValueError, match=r"got a folder with 'notes\.txt'"):
        pack_crops(source, str(tmp_path / 'a.lmdb'))
    write(str(tmp_path / 'b.lmdb'), b'key', b'value')
    with pytest.raises(ValueError, match='other keys'):
        pack_crops(source, str(tmp_path / 'b.lmdb'))
    assert read(str(tmp_path / 'b.lmdb'), b'key') == b'value'
    store = pack(tiny)
    shutil.rmtree(tiny / 'cropped_aligned/video65')
    with pytest.raises(ValueError, match="got a store with 'video65', which"):
        pack(tiny)
    assert len(PackedCrops(store).frames('video65')[0]) == 3


# ------------------------------------------------------------------ continuing


def test_rejects_file_of_zero_bytes(tiny):
    fresh = summarize_store(pack(tiny))
    shutil.rmtree(tiny / 'cropped_aligned.lmdb')
    crop = tiny / 'cropped_aligned/video10_left/00007.jpg'
    content = crop.read_bytes()
    crop.write_bytes(b'')
    with pytest.raises(ValueError, match=r'video10_left/00007\.jpg: got a file of zero bytes'):
        pack(tiny)
    crop.write_bytes(content)
    assert summarize_store(pack(tiny)) == fresh


def test_changed_folder_is_packed_again(tiny):
    store = pack(tiny)
    before = summarize_store(store)
    data = tiny / 'cropped_aligned.lmdb/data.mdb'
    content = data.read_bytes()
    pack(tiny)
    assert data.read_bytes() == content  # nothing to do, nothing written
    folder = tiny / 'cropped_aligned/video10_left'
    (folder / '00007.jpg').rename(folder / '00021.jpg')
    assert verify_store(store, CropFolder(tiny / 'cropped_aligned')) == [
        "clip 'video10_left': its folder has other crops, pack again"
    ]
    pack(tiny)
    assert verify_store(store, CropFolder(tiny / 'cropped_aligned')) == []
    assert read(store, crop_key('video10_left', '00007.jpg')) is None
    (folder / '00021.jpg').rename(folder / '00007.jpg')
    assert summarize_store(pack(tiny)) == before
    (folder / '00007.jpg').rename(folder / '00021.jpg')
    (tiny / 'cropped_aligned/video65/00009.jpg').touch()
    with pytest.raises(ValueError, match='zero bytes'):
        pack(tiny)
    with pytest.raises(ValueError, match='unfinished store'):  # it was finished before
        verify_store(store)
    (tiny / 'cropped_aligned/video65/00009.jpg').unlink()
    pack(tiny)
    shutil.copytree(folder, tiny / 'cropped_aligned/video12')
    assert verify_store(store, CropFolder(tiny / 'cropped_aligned')) == [
        "clip 'video12': it has a folder, but is not in the store, pack again"
    ]
    assert summarize_store(pack(tiny)).clips == before.clips + 1
    assert verify_store(store, CropFolder(tiny / 'cropped_aligned')) == []


def test_store_grows_beyond_its_map(tiny, monkeypatch):
    fresh = summarize_store(pack(tiny))
    shutil.rmtree(tiny / 'cropped_aligned.lmdb')
    monkeypatch.setattr(crop_packer, 'MAP_SIZE', 1 << 14)
    store = pack(tiny)
    assert summarize_store(store) == fresh and verify_store(store) == []


def test_full_disk_is_an_error_and_packing_resumes(tiny):
    """Simulated by a limit on the size of files."""
    resource = pytest.importorskip('resource')

    def limited(errors):
        resource.setrlimit(resource.RLIMIT_FSIZE, (24576, 24576))
        try:
            pack(tiny)
        except OSError as error:
            errors.put(str(error))

    context = multiprocessing.get_context('fork')
    errors = context.SimpleQueue()
    process = context.Process(target=limited, args=(errors,))
    process.start()
    process.join(60)
    assert 'make room and run the same command again' in errors.get()
    store = pack(tiny)
    assert verify_store(store, CropFolder(tiny / 'cropped_aligned')) == []


def pack_and_die(folder, clips, seconds):
    """Pack, and kill this process a moment after it has packed so many clips."""
    packed = iter(range(clips - 1))

    def report(done, total):
        if next(packed, None) is None:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()

    pack_crops(CropFolder(folder / 'crops'), str(folder / 'crops.lmdb'), report=report)


def test_packing_continues_after_kills(tmp_path):
    """A packer that was killed many times gives the store of an undisturbed run."""
    rng = random.Random(0)
    for clip in range(60):
        folder = tmp_path / f'crops/{clip:02d}'
        folder.mkdir(parents=True)
        for number in range(1, 21):
            (folder / f'{number:05d}.jpg').write_bytes(rng.randbytes(rng.randint(1, 9000)))
    shutil.copytree(tmp_path / 'crops', tmp_path / 'undisturbed')
    expected = summarize_store(pack(tmp_path, 'undisturbed'))
    context = multiprocessing.get_context('fork')
    store, kept = tmp_path / 'crops.lmdb', []
    for _ in range(20):
        process = context.Process(
            target=pack_and_die, args=(tmp_path, rng.randint(1, 59), rng.uniform(0, 0.004))
        )
        process.start()
        process.join()
        if (store / 'data.mdb').is_file() and (store / 'data.mdb').stat().st_size:
            kept.append(len(read_records(StorePages(store / 'data.mdb'))))
        if process.exitcode == 0:
            break
    pack(tmp_path, 'crops')
    assert kept == sorted(kept)
    assert any(0 < clips < 60 for clips in kept)  # otherwise no kill happened while packing
    assert summarize_store(str(store)) == expected
    assert verify_store(str(store), CropFolder(tmp_path / 'crops')) == []


# ------------------------------------------------------------------ damage


def test_verify_finds_damage(tiny):
    store = pack(tiny)
    source = CropFolder(tiny / 'cropped_aligned')
    key = crop_key('face clip 3', '00004.jpg')
    data = read(store, key)
    write(store, key, data[:50] + bytes([data[50] ^ 1]) + data[51:])
    damaged = ["clip 'face clip 3': the crops in the store differ from their checksum"]
    assert verify_store(store) == verify_store(store, source) == damaged
    write(store, key, None)
    assert verify_store(store) == damaged
    write(store, key, data)
    assert verify_store(store, source) == []
    record = read(store, clip_key('video65'))
    write(store, clip_key('video65'), record.replace(b'00004', b'00005'))
    assert verify_store(store) == ['the records of the clips differ from the checksum of the store']
    write(store, clip_key('video65'), record)
    (tiny / 'cropped_aligned/video65/00004.jpg').write_bytes(b'another picture')
    assert verify_store(store) == []
    assert verify_store(store, source) == [
        "clip 'video65': files of its folder differ from the store"
    ]


def test_checksum_separates_names_and_bytes():
    checksums = {
        crop_packer._checksum(items)
        for items in (
            [('a', b'bc')],
            [('ab', b'c')],
            [('a', b'b'), ('', b'c')],
            [('a', b''), ('b', b'c')],
            [],
        )
    }
    assert len({checksum for checksum, _ in checksums}) == 5
