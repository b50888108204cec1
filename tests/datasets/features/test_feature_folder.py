"""Tests of FeatureFolder: writing, continuing, and rejecting damaged or different folders."""

import json

import numpy as np
import pytest

from abaw_mm.datasets import FeatureFolder
from abaw_mm.errors import InvalidValueError
from abaw_mm.structures import FrameTable

META = dict(config='res18', sha256='ab', layer='neck', dim=3, pipeline=[dict(scale=(1, 2))])
NUMBERS = {'b': [1, 2, 5], 'a clip': [7], 'empty': []}
FRAMES = FrameTable.from_clips(NUMBERS)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with features of all clips but one."""
    folder = FeatureFolder.start(tmp_path / 'features', META)
    assert folder.plan(FRAMES) == ['a clip', 'b', 'empty']
    folder.write('b', np.arange(9).reshape(3, 3) / 3)
    folder.write('empty', np.empty((0, 3)))
    return folder


def test_open_reads_what_was_written(folder):
    again = FeatureFolder.open(folder.path)
    assert again.index.clips == ['a clip', 'b', 'empty'] and again.dim == 3
    for clip, numbers in NUMBERS.items():
        assert again.frame_numbers(clip).tolist() == numbers
    features = again.read('b')
    assert isinstance(features, np.memmap) and features.dtype == np.float16
    np.testing.assert_array_equal(features, (np.arange(9).reshape(3, 3) / 3).astype(np.float16))
    assert again.read('empty').shape == (0, 3)
    plain = np.load(folder.path / 'clips/b.npy', mmap_mode='r', allow_pickle=False)
    np.testing.assert_array_equal(plain, features)
    assert json.loads((folder.path / 'meta.json').read_text())['sha256'] == 'ab'


def test_flipped_bits_never_change_the_index_in_silence(folder, count_flips):
    def is_same(path):
        index = FeatureFolder.open(folder.path).index
        return index.clips == folder.index.clips and np.array_equal(
            index.frame_no, folder.index.frame_no
        )

    refused, _, different = count_flips(folder.path / 'index.npz', is_same, 400)
    assert different == 0 and refused > 200


def test_plan_lists_clips_without_features(folder):
    assert FeatureFolder.start(folder.path, META).plan(FRAMES) == ['a clip']
    # new clips are added, old ones kept
    more = FeatureFolder.start(folder.path, dict(META, config='renamed'))
    assert more.plan(FrameTable.from_clips({'c': [1]})) == ['c']
    assert FeatureFolder.open(folder.path).index.clips == ['a clip', 'b', 'c', 'empty']
    # a clip whose crops changed loses its features, even if their number is the same
    assert more.plan(FrameTable.from_clips({'b': [1, 2, 4]})) == ['b']
    assert not (folder.path / 'clips/b.npy').exists()


def test_damaged_arrays_are_planned_again(folder):
    np.save(folder.path / 'clips/b.npy', np.zeros((2, 3), np.float16))
    assert folder.plan(FRAMES) == ['a clip', 'b']
    (folder.path / 'clips/b.npy').write_bytes(b'half of')
    assert folder.plan(FRAMES) == ['a clip', 'b']
    with pytest.raises(ValueError, match=r'b\.npy: got a damaged or wrong .*float16 of shape'):
        folder.read('b')


@pytest.mark.parametrize('name, value', [('sha256', 'cd'), ('layer', 'backbone'), ('dim', 4)])
def test_start_rejects_features_of_another_network(folder, name, value):
    message = f'{name}: the folder has {META[name]!r}, this run {value!r}; expected'
    with pytest.raises(ValueError, match=message):
        FeatureFolder.start(folder.path, {**META, name: value})


def test_start_rejects_another_data_root_of_the_same_name(tmp_path):
    meta = dict(META, data_root='/disk1/affwild2')
    folder = FeatureFolder.start(tmp_path, meta)
    folder.plan(FRAMES)
    assert FeatureFolder.start(tmp_path, meta).index.clips == sorted(FRAMES.clips)
    with pytest.raises(
        ValueError,
        match=r'features of the crops in /disk1/affwild2, expected /disk2/affwild2, .*'
        r'choose another folder, or if the data were moved, correct data_root in .*meta\.json',
    ) as error:
        FeatureFolder.start(tmp_path, dict(meta, data_root='/disk2/affwild2'))
    assert 'network' not in str(error.value)


def test_write_rejects_numbers_beyond_float16_and_other_shapes(folder):
    with pytest.raises(ValueError, match="'b': got numbers that are not finite .* for frame 5"):
        folder.write('b', np.array([[0, 0, 0], [0, 0, 6e4], [0, 7e4, 0]]))
    with pytest.raises(ValueError, match=r'got the shape \(2, 3\), expected \(3, 3\)'):
        folder.write('b', np.zeros((2, 3)))
    np.testing.assert_array_equal(folder.read('b')[0], np.float16([0, 1 / 3, 2 / 3]))  # stays


def test_missing_or_damaged_folders_are_errors(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match='got no meta.json.*extract_features.py'):
        FeatureFolder.open(tmp_path)
    with pytest.raises(ValueError, match="3 clips, without 'x' of the annotations .*--split"):
        folder.check(['b', 'x'])
    with pytest.raises(FileNotFoundError, match="no features yet of 'a clip' .*folder again"):
        folder.check(['b', 'a clip'])
    (folder.path / 'index.npz').write_bytes(b'PK damaged')
    with pytest.raises(ValueError, match='index.npz: got a damaged or wrong file .*delete it'):
        FeatureFolder.open(folder.path)
    (folder.path / 'meta.json').write_text(json.dumps(dict(META, format=9)))
    with pytest.raises(
        ValueError, match='meta.json: got format 9, expected format 1 .*another folder'
    ):
        FeatureFolder.open(folder.path)


def test_features_that_are_not_finite_are_refused_and_extracted_again(folder):
    path = folder.path / 'clips/b.npy'
    array = np.load(path)
    array[1, 2] = np.nan
    np.save(path, array)
    assert FeatureFolder.open(folder.path).plan(FRAMES) == ['a clip', 'b']
    with pytest.raises(InvalidValueError, match=r'b\.npy: got numbers that are not finite.*again'):
        folder.read_frames('b', 0, 9)
    folder.write('b', np.ones((3, 3)))
    assert folder.plan(FRAMES) == ['a clip']


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        (dict(clips=['a', 'b'], length=[1, 2], frame_no=[1, 2]), 'do not fit each other'),
        (dict(clips=['a'], length=[1], frame_no=[2**32]), 'frame numbers 4294967296'),
        (dict(clips=['a'], length=[2], frame_no=[2, 1]), 'not sorted'),
        (dict(clips=['a'], length=[1], frame_no=[1.5]), 'instead of integers'),
        (dict(clips=['a'], length=[1]), 'KeyError'),
    ],
)
def test_invalid_index_is_refused(folder, arrays, message):
    np.savez(folder.path / 'index.npz', **{name: np.array(a) for name, a in arrays.items()})
    with pytest.raises(InvalidValueError, match=rf'index\.npz: .*{message}.*delete it and run'):
        FeatureFolder.open(folder.path)


def test_read_frames_of_a_range(folder):
    for first, stop, expected in ((2, 6, [2, 5]), (1, 2, [1]), (6, 9, []), (-5, 99, [1, 2, 5])):
        numbers, features = folder.read_frames('b', first, stop)
        assert numbers.tolist() == expected
        rows = [NUMBERS['b'].index(number) for number in expected]
        np.testing.assert_array_equal(features, folder.read('b')[rows])
