"""Tests of FaceFolderDataset: all images, nothing else, and unreadable files."""

import numpy as np
import pytest
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
