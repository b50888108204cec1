"""Tests of ClipFeatureDataset: each frame once, at its number, with its label."""

import numpy as np
import pytest
import torch

from abaw_mm.datasets import (
    AffWild2Dataset,
    ClipFeatureDataset,
)
from abaw_mm.errors import UserError

TRAIN = 'annotations/EXPR_Recognition_Challenge/Train_Set'


@pytest.fixture
def written(tiny, make_features, tmp_path):
    """Features of all crops of the tiny data."""
    return make_features(tmp_path / 'features', tiny)


@pytest.fixture
def windows(tiny, written, tmp_path):
    """Return a function that makes a dataset over these features."""

    def make(ann_file=TRAIN, **options):
        return ClipFeatureDataset(
            str(tmp_path / 'features'), ann_file, data_root=str(tiny), **options
        )

    return make


def scored(dataset):
    """Return (clip, frame_no, label) of every position that is scored."""
    return [
        (item['clip'], int(item['frame_no'][at]), int(item.get('gt_label', item['frame_no'])[at]))
        for item in map(dataset.__getitem__, range(len(dataset)))
        for at in item['scored'].nonzero().flatten()
    ]


@pytest.mark.parametrize('window, context', [(1, 0), (4, 3), (7, 0), (64, 5)])
def test_scores_the_frames_of_the_frame_dataset_once(windows, tiny, window, context):
    frames = AffWild2Dataset(TRAIN, str(tiny), index_cache=None)
    infos = [frames.get_data_info(i) for i in range(len(frames))]
    expected = [(info['clip'], info['frame_no'], info['gt_label']) for info in infos]
    dataset = windows(window=window, context=context, test_mode=True)
    assert sorted(scored(dataset)) == sorted(expected) and len(expected) == 36


def test_positions_have_the_features_of_their_frame_numbers(windows, written):
    dataset = windows(window=5, context=2)
    assert len(dataset) == 3 + 4 + 3
    for item in dataset:
        assert item['inputs'].shape == (9, 6) and item['inputs'].dtype == torch.float16
        assert item['frame_no'].diff().eq(1).all()
        for at, number in enumerate(item['frame_no'].tolist()):
            # None where there is no crop, and beyond the ends.
            feature = written[item['clip']].get(number)
            assert item['seen'][at] == (feature is not None)
            np.testing.assert_array_equal(item['inputs'][at], 0 if feature is None else feature)
            if not item['scored'][at]:
                assert item['gt_label'][at] == -1
        assert not item['scored'][:2].any() and not item['scored'][7:].any()
    # frames without a label are seen, but not scored
    first = dataset[0]
    assert first['frame_no'].tolist() == list(range(-1, 8)) and first['clip'] == '1-30-1280x720'
    assert first['seen'].tolist() == [False] * 2 + [True] * 7
    assert first['scored'].tolist() == [False] * 2 + [True, True, False, True, True] + [False] * 2


def test_training_windows_overlap(windows):
    dataset = windows(window=4, step=2)
    number = [item['frame_no'][0].item() for item in dataset if item['clip'] == '1-30-1280x720']
    assert number == [1, 3, 5, 7, 9, 11]


def test_list_of_frames_has_no_labels(windows):
    dataset = windows('test_set_format.txt', window=2, test_mode=True)
    assert [row[:2] for row in scored(dataset)] == [('video65', 1), ('video65', 2), ('video65', 4)]
    assert all('gt_label' not in item for item in dataset)


def test_clips_of_a_fold(windows, tiny):
    (tiny / 'fold.txt').write_text('face clip 3\n')
    assert {item['clip'] for item in windows(clips='fold.txt')} == {'face clip 3'}
    with pytest.raises(FileNotFoundError, match="ClipFeatureDataset: clips='.*gone.txt'"):
        windows(clips='gone.txt')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(window=0), 'window=0'),
        (dict(window=4, step=5), r'step in 1\.\.window'),
        (dict(start_index=0), 'start_index=0: got crops'),
    ],
)
def test_rejects_invalid_arguments(windows, options, message):
    with pytest.raises(ValueError, match=message):
        windows(**options)


def test_missing_features_and_files_are_errors(windows, tiny, tmp_path, make_clip):
    (tmp_path / 'features/clips/face clip 3.npy').unlink()
    with pytest.raises(FileNotFoundError, match="no features yet of 'face clip 3' \\(1 of 3 clips"):
        windows()
    assert len(windows(clips=['video10_left'])) == 1
    make_clip(tiny, 'Train_Set', 'new', [0, 1])
    with pytest.raises(ValueError, match="without 'new' of the annotations .1 of 4 clips"):
        windows()
    with pytest.raises(FileNotFoundError, match="no folder or file '.*Trian_Set'"):
        windows('annotations/Trian_Set')


@pytest.mark.parametrize('start_index', [-1, 0, 2, 1.0, '1', None])
def test_start_index_that_shifts_labels_is_refused(tmp_path, make_clip, make_features, start_index):
    make_clip(tmp_path, 'Train_Set', 'a', [0, 1, 2, 3, 4, 5, 6, 7])
    make_features(tmp_path / 'features', tmp_path)
    ann_file = str(tmp_path / 'annotations/EXPR_Recognition_Challenge/Train_Set')
    dataset = ClipFeatureDataset(str(tmp_path / 'features'), ann_file, window=8)
    assert dataset[0]['frame_no'].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert dataset[0]['gt_label'].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(UserError, match=f'start_index={start_index!r}'):
        ClipFeatureDataset(str(tmp_path / 'features'), ann_file, window=8, start_index=start_index)
