"""Features on disk: whole, known by what made them, read without a pickle."""

import json

import numpy as np
import pytest

from abaw_mm.datasets import FeatureFolder

META = dict(config='res18', sha256='ab', layer='neck', dim=3, pipeline=[dict(scale=(1, 2))])
NUMBERS = {
    'b': np.array([1, 2, 5], np.int32),
    'a clip': np.array([7], np.int32),
    'empty': np.empty(0, np.int32),
}


@pytest.fixture
def folder(tmp_path):
    """A folder with features of all but one clip."""
    folder = FeatureFolder.start(tmp_path / 'features', META)
    assert folder.plan(NUMBERS) == ['a clip', 'b', 'empty']
    folder.write('b', np.arange(9).reshape(3, 3) / 3)
    folder.write('empty', np.empty((0, 3)))
    return folder


def test_reads_what_was_written(folder):
    again = FeatureFolder.open(folder.path)
    assert list(again.frame_no) == ['a clip', 'b', 'empty'] and again.dim == 3
    for clip, numbers in NUMBERS.items():
        np.testing.assert_array_equal(again.frame_no[clip], numbers)
    features = again.read('b')
    assert isinstance(features, np.memmap) and features.dtype == np.float16
    np.testing.assert_array_equal(features, (np.arange(9).reshape(3, 3) / 3).astype(np.float16))
    assert again.read('empty').shape == (0, 3)
    plain = np.load(folder.path / 'clips/b.npy', mmap_mode='r', allow_pickle=False)
    np.testing.assert_array_equal(plain, features)
    assert json.loads((folder.path / 'meta.json').read_text())['sha256'] == 'ab'


def test_goes_on_where_it_stood(folder):
    assert FeatureFolder.start(folder.path, META).plan(NUMBERS) == ['a clip']
    # further clips join, those that are there stay
    more = FeatureFolder.start(folder.path, dict(META, config='renamed'))
    assert more.plan({'c': np.array([1])}) == ['c']
    assert sorted(FeatureFolder.open(folder.path).frame_no) == ['a clip', 'b', 'c', 'empty']
    # a clip whose crops are others by now is made again, even with as many of them
    assert more.plan({'b': np.array([1, 2, 4], np.int32)}) == ['b']
    assert not (folder.path / 'clips/b.npy').exists()


def test_an_array_that_does_not_fit_is_made_again(folder):
    np.save(folder.path / 'clips/b.npy', np.zeros((2, 3), np.float16))
    assert folder.plan(NUMBERS) == ['a clip', 'b']
    (folder.path / 'clips/b.npy').write_bytes(b'half of')
    assert folder.plan(NUMBERS) == ['a clip', 'b']
    with pytest.raises(ValueError, match=r'b\.npy: got a damaged file .*expected float16 of shape'):
        folder.read('b')


@pytest.mark.parametrize('name, value', [('sha256', 'cd'), ('layer', 'backbone'), ('dim', 4)])
def test_another_network_or_layer_is_refused(folder, name, value):
    told = f'{name}: the folder has {META[name]!r}, this run {value!r}. Features of two networks'
    with pytest.raises(ValueError, match=told):
        FeatureFolder.start(folder.path, {**META, name: value})


def test_numbers_that_float16_cannot_hold(folder):
    with pytest.raises(ValueError, match="'b': got numbers that are not finite .* for frame 5"):
        folder.write('b', np.array([[0, 0, 0], [0, 0, 6e4], [0, 7e4, 0]]))
    with pytest.raises(ValueError, match=r'got the shape \(2, 3\), expected \(3, 3\)'):
        folder.write('b', np.zeros((2, 3)))
    np.testing.assert_array_equal(folder.read('b')[0], np.float16([0, 1 / 3, 2 / 3]))  # stays


def test_bad_folders(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match='no features there .*extract_features.py'):
        FeatureFolder.open(tmp_path)
    with pytest.raises(ValueError, match="3 clips, without 'x' of the annotations .*--split"):
        folder.check(['b', 'x'])
    with pytest.raises(FileNotFoundError, match="no features yet of 'a clip' .*goes on where it"):
        folder.check(['b', 'a clip'])
    (folder.path / 'index.npz').write_bytes(b'PK damaged')
    with pytest.raises(ValueError, match='index.npz: got a damaged index .*delete it'):
        FeatureFolder.open(folder.path)
    (folder.path / 'meta.json').write_text(json.dumps(dict(META, format=9)))
    with pytest.raises(ValueError, match='meta.json: got a file that is damaged .*format 9'):
        FeatureFolder.open(folder.path)
