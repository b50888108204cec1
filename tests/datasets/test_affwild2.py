"""Tests of AffWild2Dataset: counts, lines and files, wrappers of mmpretrain, invalid arguments."""

import copy
import json
import logging
import pickle
import shutil

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader, Subset

from abaw_mm.datasets import (
    EXPRESSIONS,
    AffWild2Dataset,
    UnreadableFrameError,
)
from abaw_mm.structures import FrameTable

TRAIN = 'annotations/EXPR_Recognition_Challenge/Train_Set'
VAL = 'annotations/EXPR_Recognition_Challenge/Validation_Set'


def train_set(root, **kwargs):
    return AffWild2Dataset(data_root=str(root), ann_file=TRAIN, **kwargs)


def names(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(info['clip'], info['frame_no'], info['gt_label']) for info in infos]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_counts_of_real_faces(affwild2_mini, split):
    facts = json.loads((affwild2_mini / 'facts.json').read_text())[split]
    dataset = AffWild2Dataset(
        data_root=str(affwild2_mini), ann_file=TRAIN if split == 'train' else VAL
    )
    counts = dataset.frames.counts
    assert counts['clips'] == facts['clips']
    assert counts['lines'] == facts['lines']
    assert counts['lines'] - counts['unlabelled'] == facts['labelled']
    assert counts['missing'] == facts['labelled'] - facts['labelled_with_frame']
    assert len(dataset) == facts['labelled_with_frame']
    assert np.bincount(dataset.get_gt_labels()).tolist() == facts['per_class']


def test_test_list_of_real_faces(affwild2_mini):
    facts = json.loads((affwild2_mini / 'facts.json').read_text())['test']
    dataset = AffWild2Dataset(
        data_root=str(affwild2_mini), ann_file='test_set_format.txt', test_mode=True
    )
    assert len(dataset.listed) == facts['lines']
    assert len(dataset) == facts['frames']
    assert len(dataset.listed.clips) == facts['clips']


def test_label_line_i_belongs_to_crop_i(tiny):
    dataset = train_set(tiny)
    assert names(dataset)[:4] == [
        ('1-30-1280x720', 1, 0),
        ('1-30-1280x720', 2, 1),
        ('1-30-1280x720', 4, 2),
        ('1-30-1280x720', 5, 3),
    ]
    info = dataset.get_data_info(2)
    assert info['img_path'] == str(tiny / 'cropped_aligned/1-30-1280x720/00004.jpg')
    assert info['sample_idx'] == 2
    face = [row for row in names(dataset) if row[0] == 'face clip 3']
    assert [frame for _, frame, _ in face] == [1, 4, 6, 9, 10, 11, 14, 15]
    assert {frame for clip, frame, _ in names(dataset) if clip == 'video10_left'} == (
        set(range(1, 21)) - {3, 4}
    )


def test_logs_one_summary_line(tiny, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            train_set(tiny)
    finally:
        logger.removeHandler(caplog.handler)
    lines = [r.getMessage() for r in caplog.records if 'AffWild2Dataset' in r.getMessage()]
    assert len(lines) == 1
    assert (
        '3 clips, 46 lines, 7 unlabelled (-1), 3 labelled without a crop, 36 kept '
        '(Neutral 21, Anger 1, Disgust 1, Fear 1, Happiness 7, Sadness 1, Surprise 1, Other 3)'
    ) in lines[0]


def test_list_of_frames_has_hidden_labels(tiny):
    dataset = AffWild2Dataset(data_root=str(tiny), ann_file='test_set_format.txt', test_mode=True)
    assert len(dataset) == 3 and len(dataset.listed) == 4
    assert dataset.listed.frame_no[dataset.listed['source'] < 0].tolist() == [3]
    assert 'gt_label' not in dataset.get_data_info(0)
    assert [dataset.get_data_info(i)['frame_no'] for i in range(3)] == [1, 2, 4]
    for access in (dataset.get_gt_labels, lambda: dataset.get_cat_ids(0)):
        with pytest.raises(ValueError, match='hidden labels'):
            access()


@pytest.mark.parametrize('prefix', [[], dict(img_path=()), dict(img='cropped_aligned')])
def test_rejects_data_prefix_without_a_folder(tiny, prefix):
    with pytest.raises(ValueError, match='expected a folder of crops'):
        train_set(tiny, data_prefix=prefix)


def test_crops_may_be_in_the_data_root(tiny):
    shutil.move(tiny / 'annotations', tiny / 'cropped_aligned/annotations')
    assert len(train_set(tiny / 'cropped_aligned', data_prefix='')) == 36


def test_clips_select_a_fold(tiny, tmp_path):
    fold = ['video10_left', 'face clip 3']
    assert {row[0] for row in names(train_set(tiny, clips=fold))} == set(fold)
    (tmp_path / 'fold.txt').write_text('video10_left\n')
    assert len(train_set(tiny, clips=str(tmp_path / 'fold.txt'))) == 18
    with pytest.raises(ValueError, match="clips: got 'video10'"):
        train_set(tiny, clips=['video10'])


def test_crops_are_found_in_several_folders(tiny):
    shutil.move(tiny / 'cropped_aligned/video10_left', tiny / 'new_50_vids/video10_left')
    dataset = train_set(tiny, data_prefix=dict(img_path=['cropped_aligned', 'new_50_vids']))
    assert len(dataset) == 36
    paths = {dataset.get_data_info(i)['img_path'].split('/')[-3] for i in range(36)}
    assert paths == {'cropped_aligned', 'new_50_vids'}
    assert dataset[35]['img_path'].startswith(str(tiny))
    assert len(train_set(tiny)) == 18  # one archive is not listed


def test_wrong_start_index_is_refused(tmp_path, make_clip):
    make_clip(tmp_path, 'Train_Set', 'a', [1, 2, 3], start=0)
    assert names(train_set(tmp_path, start_index=0)) == [('a', 0, 1), ('a', 1, 2), ('a', 2, 3)]
    with pytest.raises(ValueError, match='set start_index=0'):
        train_set(tmp_path)


def test_filename_template_names_the_crops(tmp_path, make_clip):
    make_clip(tmp_path, 'Train_Set', 'a', [1, 2])
    for number in (1, 2):
        folder = tmp_path / 'cropped_aligned/a'
        (folder / f'{number:05d}.jpg').rename(folder / f'img_{number}.jpg')
    dataset = train_set(tmp_path, filename_tmpl='img_{:d}.jpg')
    assert names(dataset) == [('a', 1, 1), ('a', 2, 2)]
    assert dataset.get_data_info(0)['img_path'].endswith('a/img_1.jpg')
    with pytest.raises(FileNotFoundError, match='filename_tmpl'):
        train_set(tmp_path)


@pytest.mark.parametrize(
    ('indices', 'rows'), [(5, range(5)), (-3, range(33, 36)), ([7, 2], (7, 2))]
)
def test_indices_and_subsets(tiny, indices, rows):
    whole = names(train_set(tiny))
    expected = [whole[i] for i in rows]
    assert names(train_set(tiny, indices=indices)) == expected
    dataset = train_set(tiny)
    subset = dataset.get_subset(indices)
    assert names(subset) == expected and names(dataset) == whole
    dataset.get_subset_(indices)
    assert names(dataset) == expected


def test_rejects_indices_beyond_the_dataset(tiny):
    with pytest.raises(ValueError, match='indices=37 of 36 frames'):
        train_set(tiny, indices=37)
    with pytest.raises(IndexError):
        train_set(tiny).get_data_info(36)


def test_lazy_init_and_metainfo(tiny):
    dataset = train_set(tiny, lazy_init=True, metainfo=dict(edition=6))
    assert not dataset._fully_initialized
    assert dataset.metainfo['edition'] == 6 and dataset.metainfo['classes'] == EXPRESSIONS
    dataset.full_init()
    assert len(dataset) == 36
    assert 'Number of samples: \t36' in repr(dataset)


def test_labels_of_all_frames_and_of_one(tiny):
    dataset = train_set(tiny)
    labels = [row[2] for row in names(dataset)]
    assert dataset.get_gt_labels().tolist() == labels
    assert [dataset.get_cat_ids(i) for i in range(36)] == [[label] for label in labels]
    assert dataset.get_data_info(-1)['sample_idx'] == 35


def test_wrappers_of_mmpretrain(tiny):
    init_default_scope('mmpretrain')  # as default_scope of a config does
    cfg = dict(type='AffWild2Dataset', data_root=str(tiny), ann_file=TRAIN)
    val = dict(cfg, ann_file=VAL)
    concat = DATASETS.build(dict(type='ConcatDataset', datasets=[cfg, val]))
    assert len(concat) == 36 + 10
    assert concat.get_data_info(36)['clip'] == '5-60-1920x1080-1'
    repeat = DATASETS.build(dict(type='RepeatDataset', dataset=cfg, times=3))
    assert repeat[40]['frame_no'] == repeat[4]['frame_no']
    folds = [
        DATASETS.build(dict(type='KFoldDataset', dataset=cfg, fold=k, num_splits=3, test_mode=True))
        for k in range(3)
    ]
    assert sorted(sum((names(fold) for fold in folds), [])) == sorted(names(train_set(tiny)))
    balanced = DATASETS.build(dict(type='ClassBalancedDataset', dataset=cfg, oversample_thr=0.15))
    assert len(balanced) > 36


def test_copies_share_and_pickles_keep_frames(tiny):
    dataset = train_set(tiny)
    assert copy.copy(dataset).frames['label'] is dataset.frames['label']
    assert names(pickle.loads(pickle.dumps(dataset))) == names(dataset)
    assert dataset.get_subset(5).frames.clips is dataset.frames.clips


def test_pipeline_of_mmpretrain_gets_label_clip_and_frame_number(tiny):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='PackInputs', meta_keys=('sample_idx', 'clip', 'frame_no')),
    ]
    sample = train_set(tiny, pipeline=pipeline)[3]
    assert sample['inputs'].shape == (3, 16, 16)
    assert sample['data_samples'].clip == '1-30-1280x720'
    assert sample['data_samples'].frame_no == 5
    assert sample['data_samples'].gt_label.tolist() == [3]


@pytest.mark.parametrize(
    ('kwargs', 'error', 'message'),
    [
        (
            dict(ann_file='annotations/none'),
            FileNotFoundError,
            'no folder or file .*annotations/none',
        ),
        (dict(data_prefix='crops'), FileNotFoundError, "no folder of crops .*crops'"),
        (dict(data_prefix=dict(path='x')), ValueError, 'img_path'),
        (dict(start_index=-1), ValueError, 'start_index=-1'),
        (dict(filename_tmpl='00001.jpg'), ValueError, 'filename_tmpl'),
        (dict(ann_file='cropped_aligned'), FileNotFoundError, 'without any <clip>.txt'),
    ],
)
def test_rejects_invalid_arguments(tiny, kwargs, error, message):
    kwargs = dict(dict(data_root=str(tiny), ann_file=TRAIN), **kwargs)
    with pytest.raises(error, match=message):
        AffWild2Dataset(**kwargs)


def test_needs_a_frame_with_label_and_crop(tmp_path, make_clip):
    make_clip(tmp_path, 'Train_Set', 'a', [-1, -1])
    with pytest.raises(ValueError, match='no frame of .* has both a label and a crop'):
        train_set(tmp_path)


def damage(root, *numbers):
    for number in numbers:
        path = root / f'cropped_aligned/video10_left/{number:05d}.jpg'
        path.write_bytes(path.read_bytes()[:-2])


def unreadable_set(root, **kwargs):
    return AffWild2Dataset(
        data_root=str(root), ann_file=TRAIN, pipeline=[dict(type='LoadFaceCrop')], **kwargs
    )


def row_of(dataset, clip, frame_no):
    return int(dataset.frames.find(FrameTable.from_clips({clip: [frame_no]}))[0])


def test_unreadable_frame_stops_with_its_name(tiny):
    damage(tiny, 10)
    dataset = unreadable_set(tiny)
    with pytest.raises(UnreadableFrameError, match=r'video10_left/00010\.jpg: got Premature end'):
        dataset[row_of(dataset, 'video10_left', 10)]


def test_nearest_frame_replaces_an_unreadable_one_and_is_counted(tiny):
    damage(tiny, 9, 10, 11)
    dataset = unreadable_set(tiny, unreadable='nearest')
    for number, nearest in ((9, 8), (10, 8), (11, 12), (12, 12)):
        frame = dataset[row_of(dataset, 'video10_left', number)]
        assert (frame['clip'], frame['frame_no']) == ('video10_left', nearest)
    assert dataset.replaced.sum() == 3
    rows = [row_of(dataset, 'video10_left', n) for n in range(5, 21)]
    loader = DataLoader(
        Subset(dataset, rows * 2),
        batch_size=4,
        num_workers=2,
        collate_fn=lambda frames: [frame['frame_no'] for frame in frames],
    )
    assert not {9, 10, 11} & set(sum(loader, []))
    assert dataset.replaced.sum() == 3 + 6  # counted in the workers
    assert dataset.get_subset([0]).replaced is dataset.replaced


def test_clip_without_a_readable_frame_is_an_error(tiny):
    damage(tiny, *(n for n in range(1, 21) if n not in (3, 4)))
    dataset = unreadable_set(tiny, unreadable='nearest')
    with pytest.raises(FileNotFoundError, match="no frame of the clip 'video10_left'"):
        dataset[row_of(dataset, 'video10_left', 7)]


def test_evaluation_never_replaces_a_frame(tiny):
    damage(tiny, 10)
    dataset = unreadable_set(tiny, unreadable='nearest', test_mode=True)
    with pytest.raises(UnreadableFrameError):
        dataset[row_of(dataset, 'video10_left', 10)]
    with pytest.raises(ValueError, match="unreadable='skip', expected 'stop' or 'nearest'"):
        unreadable_set(tiny, unreadable='skip')
