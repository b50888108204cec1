"""Names of clips that could leave a folder are refused by every reader of names."""

import json
import os

import lmdb
import numpy as np
import pytest

from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.annotations import find_annotation_files, read_frame_list
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.crop_packer import pack_crops, summarize_store
from abaw_mm.datasets.crops.packed_crops import PackedCrops, clip_key, close_store
from abaw_mm.errors import UserError
from abaw_mm.evaluation import Predictions
from abaw_mm.structures import FrameTable, check_clip_names, merge_tables

NAMES = ['..', '.', '', '/etc', '../outside', 'a/../../b', 'a/b', 'a\\b', 'a\0b', 'a\nb', 'x' * 201]


@pytest.mark.parametrize('name', NAMES)
def test_tables_refuse_names_that_leave_a_folder(name):
    for make in (
        lambda: FrameTable.from_clips({'ok': [1], name: [1]}),
        lambda: FrameTable.from_rows(np.array(['ok', name], object), [1, 1]),
        lambda: FrameTable(['ok', name], np.array([0, 1]), np.array([1, 1])),
        lambda: FrameTable.from_clips({'ok': [1]}).select_clips(['ok', name]),
    ):
        with pytest.raises(UserError, match='got the clip name .* expected the name of one folder'):
            make()


@pytest.mark.parametrize(
    'name', ['video2_left', '5-60-1920x1080-1', 'face clip 3', 'a..b', '...', 'é', 'x' * 200]
)
def test_ordinary_names_are_accepted(name):
    check_clip_names([name])
    assert merge_tables([FrameTable.from_clips({name: [3]})]).clip.tolist() == [name]


@pytest.mark.parametrize('name', [name for name in NAMES if name and '\n' not in name])
def test_list_of_frames_names_the_line(name, tmp_path, write_frame_list):
    path = write_frame_list(tmp_path / 'list.txt')
    path.write_text(path.read_text('utf-8-sig').replace('a b/00002', f'{name}/00002'))
    with pytest.raises(UserError, match=r'list.txt, line 6: got the clip name') as error:
        read_frame_list(path)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize('name', ['a\\b', 'a\nb'])
def test_folders_and_annotation_files(name, tmp_path, tiny):
    (tiny / 'cropped_aligned' / name).mkdir()
    with pytest.raises(UserError, match='cropped_aligned: got the clip name'):
        CropFolder(tiny / 'cropped_aligned').clips()
    folder = tiny / 'annotations/EXPR_Recognition_Challenge/Train_Set'
    (folder / f'{name}.txt').touch()
    with pytest.raises(UserError, match='Train_Set: got the clip name'):
        find_annotation_files(folder)


@pytest.mark.parametrize('name', NAMES)
def test_predictions(name, tmp_path, make_noisy):
    path = tmp_path / 'p.npz'
    make_noisy(num_clips=2).write(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays['clip'] = np.where(arrays['clip'] == 'v01', name, arrays['clip'])
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=r'p.npz: got the clip name'):
        Predictions.read(path)


@pytest.mark.parametrize('name', ['../../outside', '/outside', '..'])
def test_index_of_features_deletes_nothing_outside(name, tmp_path, tiny, make_features):
    folder = tmp_path / 'deep/features'
    make_features(folder, tiny)
    outside = tmp_path / 'deep/outside.npy'
    outside.write_bytes(b'precious')
    np.savez(
        folder / 'index.npz',
        clips=np.array([name]),
        length=np.array([1]),
        frame_no=np.array([1], np.int32),
    )
    with pytest.raises(UserError, match=r'index.npz: .*got the clip name'):
        FeatureFolder.open(folder)
    with pytest.raises(UserError, match='got the clip name'):
        FeatureFolder.open(tmp_path / 'deep/features')
    assert outside.read_bytes() == b'precious'


def test_extraction_writes_nothing_outside(tmp_path, tiny, make_features):
    make_features(tmp_path / 'features', tiny)
    folder = FeatureFolder.open(tmp_path / 'features')
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(UserError, match='got the clip name'):
        folder.plan(FrameTable.from_clips({'../../outside': [1]}))
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('name', ['..', '../outside', 'a\\b'])
def test_packed_store(name, tmp_path, tiny):
    root = str(tmp_path / 'crops.lmdb')
    pack_crops(CropFolder(tiny / 'cropped_aligned'), root)
    with lmdb.open(root) as env, env.begin(write=True) as txn:
        record = dict(bytes=1, checksum='', names=['00001.jpg'])
        txn.put(clip_key(name), json.dumps(record).encode())
    os.remove(f'{root}/lock.mdb')
    for read in (PackedCrops(root).clips, lambda: summarize_store(root)):
        close_store(root)
        with pytest.raises(UserError, match='got the clip name'):
            read()
    close_store(root)


@pytest.mark.parametrize('name', ['../outside', '/outside'])
def test_report_embeds_no_picture_from_outside(name, tmp_path, tiny, run_tool, make_noisy):
    path = tmp_path / 'p.npz'
    make_noisy(num_clips=1).write(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays['clip'] = np.full(len(arrays['clip']), name)
    np.savez(path, **arrays)
    crops = tiny / 'cropped_aligned'
    status, _, error = run_tool(
        'report.py', path, '--data-root', crops, '--out', tmp_path / 'report.html'
    )
    assert status == 1 and f'got the clip name {name!r}' in error
    assert not (tmp_path / 'report.html').exists()
