"""Tests of FaceFolderDataset: all images, nothing else, and unreadable files."""

import json

import numpy as np
import pytest
import torch
from mmpretrain.registry import DATASETS
from PIL import Image

from abaw_mm.datasets import (
    FaceFolderDataset,
    UnreadableFrameError,
)


@pytest.fixture
def faces(tmp_path):
    root = tmp_path / 'faces'
    for name in ('a.jpg', 'b.png', 'deep/er/c.JPG', 'deep/d.jpeg'):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), len(name), np.uint8)).save(path)
    (root / 'notes.txt').write_text('no face')
    return root


def paths(dataset, root):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {str(info['img_path'])[len(str(root)) + 1 :] for info in infos}


def test_finds_images_at_any_depth(faces):
    dataset = DATASETS.build(dict(type='FaceFolderDataset', data_root=str(faces)))
    assert paths(dataset, faces) == {'a.jpg', 'b.png', 'deep/er/c.JPG', 'deep/d.jpeg'}
    assert 'gt_label' not in dataset.get_data_info(0)


def test_hidden_folders_and_files_are_left_out(faces):
    for name in ('.thumbnails/a.jpg', 'deep/.trash/b.jpg', 'deep/._d.jpeg'):
        path = faces / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((faces / 'a.jpg').read_bytes())
    dataset = FaceFolderDataset(data_root=f'{faces}/')
    assert paths(dataset, faces) == {'a.jpg', 'b.png', 'deep/er/c.JPG', 'deep/d.jpeg'}


def test_takes_unlabelled_crops_of_affwild2(tiny):
    root = tiny / 'cropped_aligned'
    dataset = FaceFolderDataset(data_root=str(root))
    assert len(dataset) == len(list(root.rglob('*.jpg')))
    assert any('video65' in path for path in paths(dataset, root))


@pytest.mark.parametrize('name', ['gone', 'empty'])
def test_rejects_folder_without_faces(tmp_path, name):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='set train_dataloader.dataset.data_root'):
        FaceFolderDataset(data_root=str(tmp_path / name))


def test_unreadable_face_stops_or_is_replaced(faces):
    (faces / 'a.jpg').write_bytes((faces / 'a.jpg').read_bytes()[:-20])
    pipeline = [dict(type='LoadFaceCrop')]
    dataset = FaceFolderDataset(data_root=str(faces), pipeline=pipeline)
    with pytest.raises(UnreadableFrameError, match='a.jpg'):
        dataset[0]
    dataset = FaceFolderDataset(data_root=str(faces), pipeline=pipeline, unreadable='nearest')
    assert dataset[0]['img'].shape == (8, 8, 3)
    assert not dataset[0]['img_path'].endswith('a.jpg')
    with pytest.raises(ValueError, match="expected 'stop' or 'nearest'"):
        FaceFolderDataset(data_root=str(faces), unreadable='skip')


KEEP = [dict(type='LoadFaceCrop'), dict(type='Resize', scale=(8, 8))]


def test_kept_faces_are_decoded_once(faces):
    pipeline = [*KEEP, dict(type='PackInputs')]
    plain = FaceFolderDataset(data_root=str(faces), pipeline=pipeline)
    kept = FaceFolderDataset(data_root=str(faces), pipeline=pipeline, keep=2)
    expected = [plain[i]['inputs'] for i in range(4)]
    assert all(torch.equal(kept[i]['inputs'], expected[i]) for i in range(4))
    for path in faces.rglob('*'):
        if path.is_file():
            path.write_bytes(b'')
    for i in range(4):
        sample = kept[i]
        assert torch.equal(sample['inputs'], expected[i])
        assert sample['data_samples'].img_path == plain.get_data_info(i)['img_path']


def test_workers_share_kept_faces(faces):
    dataset = FaceFolderDataset(data_root=str(faces), pipeline=KEEP, keep=2)
    loader = torch.utils.data.DataLoader(
        dataset, 2, num_workers=2, collate_fn=len, multiprocessing_context='fork'
    )
    assert list(loader) == [2, 2]
    assert dataset._kept.is_kept.all()


def test_faces_that_do_not_fit_are_not_kept(faces, monkeypatch):
    monkeypatch.setattr('abaw_mm.datasets.face_folder.fits_memory', lambda size: False)
    dataset = FaceFolderDataset(data_root=str(faces), pipeline=KEEP, keep=2)
    assert dataset._kept is None and dataset[0]['img'].shape == (8, 8, 3)


def test_faces_are_kept_although_the_first_cannot_be_read(faces):
    (faces / 'a.jpg').write_bytes(b'')
    options = dict(data_root=str(faces), pipeline=KEEP, keep=2, unreadable='nearest')
    dataset = FaceFolderDataset(**options)
    assert [dataset[i]['img'].shape for i in range(4)] == [(8, 8, 3)] * 4
    assert dataset._kept.is_kept.sum() == 3


def test_kept_faces_of_another_size_are_refused(faces):
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(faces / 'b.png')
    dataset = FaceFolderDataset(data_root=str(faces), pipeline=KEEP[:1], keep=1)
    with pytest.raises(ValueError, match=r'\(9, 8, 3\).*Resize'):
        for i in range(4):
            dataset[i]


def test_landmarks_are_added(faces, tmp_path):
    points = {name: [[0.1 * i, 0.5] for i in range(5)] for name in ('a.jpg', 'b.png')}
    points |= {'deep/d.jpeg': [[0, 0]] * 5, 'deep/er/c.JPG': [[0, 0]] * 5}
    path = tmp_path / 'points.json'
    path.write_text(json.dumps(points))
    meta = ('img_path', 'landmarks')
    pipeline = [*KEEP, dict(type='PackInputs', meta_keys=meta)]
    options = dict(data_root=str(faces), pipeline=pipeline, keep=2, landmarks=str(path))
    dataset = FaceFolderDataset(**options)
    for i in range(4):
        sample = dataset[i]['data_samples']
        name = sample.img_path[len(str(faces)) + 1 :]
        np.testing.assert_allclose(sample.landmarks, points[name], rtol=1e-6)
    for wrong in (None, [[0.5, 0.5]] * 4, [[0.5, float('nan')]] * 5, [[56, 30]] * 5):  # pixels
        path.write_text(json.dumps(points | {'b.png': wrong}))
        with pytest.raises(ValueError, match=r'points.json: got no points of b.png'):
            FaceFolderDataset(**options)
    del points['b.png']
    path.write_text(json.dumps(points))
    with pytest.raises(ValueError, match=r'points.json: got no points of b.png'):
        FaceFolderDataset(**options)
