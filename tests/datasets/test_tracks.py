"""The datasets of the VA, AU and MTL tracks: rows, targets, cache, sampler, features, summary."""

import csv
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.logging import MMLogger

from abaw_mm.datasets import AffWild2Dataset, AllCropsDataset, ClipFeatureDataset, FeatureFolder
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.datasets.crops.crop_packer import pack_crops
from abaw_mm.datasets.samplers import FrameStrideSampler
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.models.data_preprocessors import FrameDataPreprocessor, WindowDataPreprocessor
from abaw_mm.structures import FrameBatch, collate_frames
from abaw_mm.structures.tasks import ACTION_UNITS, EXPRESSIONS, get_targets

FILES = dict(
    va='VA_Estimation_Challenge/Train_Set',
    au='AU_Detection_Challenge/Train_Set',
    mtl='MTL_Challenge/training_set_annotations.txt',
)
LISTS = dict(
    va='test_set_format_va.txt',
    au='test_set_format_au.txt',
    mtl='MTL_Challenge_test_set_release.txt',
)
HIDDEN = dict(va=-5, label=-1, au=-1)


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo') / 'demo'
    tool = Path(__file__).parents[2] / 'demo/make_demo_data.py'
    sizes = ['--train-clips', 4, '--val-clips', 1, '--test-clips', 1, '--frames', 60, '--size', 32]
    command = [sys.executable, tool, root, *sizes, '--workers', 2]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE)
    return root


def load(root, task, **options):
    ann_file = f'annotations/{FILES.get(task)}'
    settings = dict(ann_file=ann_file, task=task, index_cache=None)
    return AffWild2Dataset(**{**settings, 'data_root': str(root), **options})


def read_plainly(root, task):
    """Read what must be in the dataset with csv alone: (clip, number) and targets of each line."""
    rows = []
    path = root / 'annotations' / FILES[task]
    for file in sorted(path.glob('*.txt')) if path.is_dir() else [path]:
        with open(file, newline='') as stream:
            lines = list(csv.reader(stream))[1:]
        for number, line in enumerate(lines, start=1):
            clip = file.stem
            if task == 'mtl':
                clip, _, name = line.pop(0).rpartition('/')
                number = int(name[:5])
            values = [*map(float, line)]
            parts = dict(va=values[:2], label=values[2:3], au=values[3:]) if task == 'mtl' else {}
            parts = parts or {task: values}
            known = [HIDDEN[name] not in part for name, part in parts.items()]
            crop = root / 'cropped_aligned' / clip / f'{number:05d}.jpg'
            if any(known) and crop.is_file():
                rows.append((clip, number, parts))
    return sorted(rows, key=lambda row: row[:2])


@pytest.mark.parametrize('task', FILES)
def test_rows_are_those_of_a_plain_reader(demo, task):
    dataset, expected = load(demo, task), read_plainly(demo, task)
    assert len(dataset) == len(expected) > 50
    frames = dataset.frames
    assert frames.name_frames() == [f'{clip}/{number}' for clip, number, _ in expected]
    for target in get_targets(task):
        values = np.array([row[2][target.column] for row in expected]).reshape(-1, *target.shape)
        np.testing.assert_array_equal(frames[target.column], values.astype(target.dtype))
    if task == 'mtl':
        assert len(frames.find_duplicates()) > 0


@pytest.mark.parametrize('task', FILES)
def test_item_has_the_targets_of_the_track(demo, task):
    info = load(demo, task)[3]
    frames = load(demo, task).frames
    for name in ('va', 'label', 'au'):
        assert (f'gt_{name}' in info) == (name in frames.columns)
    if task == 'au':
        assert info['gt_au'].tolist() == frames['au'][3].tolist()
        assert load(demo, task).get_cat_ids(3) == np.flatnonzero(info['gt_au'] == 1).tolist()
    else:
        assert info['gt_va'].dtype == np.float32


@pytest.mark.parametrize('task', FILES)
def test_cache_holds_the_targets(demo, task, tmp_path):
    dataset = load(demo, task, index_cache=str(tmp_path))
    again = load(demo, task, index_cache=str(tmp_path))
    assert isinstance(again.frames[get_targets(task)[0].column], np.memmap)
    assert again.frames.name_frames() == dataset.frames.name_frames()
    for target in get_targets(task):
        np.testing.assert_array_equal(again.frames[target.column], dataset.frames[target.column])
        assert again.frames[target.column].dtype == target.dtype


@pytest.mark.parametrize('task', FILES)
def test_names_are_those_of_the_track(demo, task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / task).write_text('not the name of the track')
    names = dict(va=('valence', 'arousal'), au=ACTION_UNITS, mtl=EXPRESSIONS)[task]
    metainfo = load(demo, task).metainfo
    assert tuple(metainfo['classes']) == names and metainfo['task'] == task


@pytest.mark.parametrize('task', FILES)
def test_list_of_test_frames_has_hidden_targets(demo, task):
    dataset = load(demo, task, ann_file=LISTS[task], test_mode=True)
    assert not dataset.labelled and len(dataset) > 0
    assert not any(name.startswith('gt_') for name in dataset.get_data_info(0))
    for target in get_targets(task):
        assert not target.is_annotated(dataset.listed[target.column]).any()
    assert len(dataset.listed) == len((demo / LISTS[task]).read_text().splitlines()) - 1


@pytest.mark.parametrize('task', FILES)
def test_frames_are_collated_for_the_network(demo, task):
    dataset = load(demo, task, pipeline=[dict(type='LoadFaceCrop')])
    batch = collate_frames([dataset[row] for row in (0, 5, 7)])
    model = FrameDataPreprocessor(mean=[0] * 3, std=[1] * 3, crop_size=32, resize_edge=32)
    (sample,) = model(batch)['data_samples']
    assert isinstance(sample, FrameBatch)
    for target in get_targets(task):
        got = getattr(sample, target.ground_truth)
        assert got.dtype == (torch.float32 if target.column == 'va' else torch.int64)
        np.testing.assert_array_equal(got, dataset.frames[target.column][[0, 5, 7]])


@pytest.mark.parametrize('task', FILES)
def test_windows_of_features_have_the_targets(demo, task, tmp_path):
    crops = CropFolder(demo / 'cropped_aligned')
    meta = dict(config='c', sha256='0' * 64, layer='neck', dim=3)
    folder = FeatureFolder.start(tmp_path / 'features', meta)
    for clip in folder.plan(list_crops([crops], crops.clips())):
        folder.write(clip, np.zeros((len(folder.frame_numbers(clip)), 3), np.float16))
    windows = ClipFeatureDataset(
        str(tmp_path / 'features'),
        f'annotations/{FILES[task]}',
        str(demo),
        window=8,
        context=2,
        task=task,
    )
    frames = load(demo, task).frames
    once = np.setdiff1d(np.arange(len(frames)), frames.find_duplicates())
    batch = WindowDataPreprocessor()(default_collate([windows[i] for i in range(len(windows))]))
    (sample,) = batch['data_samples']
    got = {
        (sample.clips[clip], number): row
        for row, (clip, number) in enumerate(
            zip(sample.clip_id.tolist(), sample.frame_no.tolist(), strict=True)
        )
    }
    assert len(got) == len(once)
    for target in get_targets(task):
        values = getattr(sample, target.ground_truth).numpy()
        known = target.is_annotated(frames[target.column])
        keys = list(zip(frames.clip[known], frames.frame_no[known].tolist(), strict=True))
        first = dict(reversed(list(zip(keys, frames[target.column][known], strict=True))))
        for key, row in got.items():
            np.testing.assert_array_equal(values[row], first.get(key, target.hidden))


@pytest.mark.parametrize('task', FILES)
def test_all_crops_of_the_clips(demo, task):
    dataset = AllCropsDataset(f'annotations/{FILES[task]}', str(demo), task=task)
    clips = {row[0] for row in read_plainly(demo, task)}
    assert set(dataset.frames.clips) == clips
    files = [path for clip in clips for path in (demo / 'cropped_aligned' / clip).iterdir()]
    assert len(dataset) == len(files)


def test_sampler_draws_one_frame_in_ten_of_every_track(demo):
    for task in FILES:
        dataset = load(demo, task)
        drawn = FrameStrideSampler(dataset, stride=10, offset=0, shuffle=False).draw(0)
        assert len(drawn) == sum(-(-n // 10) for n in dataset.frames.count_by_clip().tolist())


def test_sampler_repeats_frames_of_rare_action_units(demo):
    dataset = load(demo, 'au')
    balance = dict(oversample_thr=0.3)
    drawn = FrameStrideSampler(dataset, stride=1, shuffle=False, class_balance=balance).draw(0)
    units = dataset.frames['au']
    share = units.mean(axis=0)
    factor = [
        max(
            [1] + [np.ceil(np.sqrt(0.3 / share[u])) for u in range(12) if row[u] and share[u] < 0.3]
        )
        for row in units
    ]
    np.testing.assert_array_equal(np.bincount(drawn, minlength=len(units)), factor)


@pytest.mark.parametrize(
    ('task', 'balance'),
    [('va', dict(oversample_thr=0.1)), ('mtl', 'uniform'), ('au', 'uniform')],
)
def test_balance_without_a_meaning_is_refused(demo, task, balance):
    with pytest.raises(InvalidValueError, match=f'no meaning for the {task.upper()} track'):
        FrameStrideSampler(load(demo, task), class_balance=balance)


@pytest.mark.parametrize(
    ('task', 'ann_file', 'error', 'message'),
    [
        ('va', FILES['au'], InvalidValueError, "of the AU track: set task='au'"),
        ('au', 'EXPR_Recognition_Challenge/Train_Set', InvalidValueError, "set task='expr'"),
        ('mtl', FILES['va'], MissingFileError, "task='mtl': no file .*training_set_annotations"),
        ('mtl', 'MTL_Challenge/absent.txt', MissingFileError, "task='mtl': no file"),
        ('emotion', FILES['va'], InvalidValueError, "task='emotion'"),
    ],
)
def test_files_of_another_track_are_refused(demo, task, ann_file, error, message):
    with pytest.raises(error, match=message):
        load(demo, task, ann_file=f'annotations/{ann_file}')


def test_clips_of_the_multi_task_track_are_those_that_were_asked_for(demo):
    path = f'annotations/{FILES["mtl"]}'
    with pytest.raises(InvalidValueError, match="clips: got 'gone', not found in .*training_set"):
        load(demo, 'mtl', clips=['gone'])
    with pytest.raises(InvalidValueError, match='in several files of .*expected each in one'):
        load(demo, 'mtl', ann_file=[path, path])
    lists = [LISTS['mtl']] * 2
    with pytest.raises(InvalidValueError, match='ann_file: got 2 lists of frames, expected one'):
        load(demo, 'mtl', ann_file=lists, test_mode=True)


@pytest.mark.parametrize('task', FILES)
def test_summary_counts_what_was_read(demo, task, caplog):
    kept = len(read_plainly(demo, task))
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            frames = load(demo, task).frames
    finally:
        logger.removeHandler(caplog.handler)
    text = caplog.text
    assert FILES[task] in text and f' {kept} kept (' in text
    if task == 'va':
        assert f'valence {frames["va"][:, 0].mean(dtype=float):.2f} ±' in text
    elif task == 'au':
        assert f'AU12 {frames["au"][:, 6].mean():.1%}' in text
    else:
        assert f'{np.count_nonzero(frames["label"] >= 0)} rows with Neutral' in text


def test_summary_names_each_file_that_was_read(demo, caplog):
    """The rules of the multi-task challenge allow no other annotations of Aff-Wild2."""
    names = [FILES['mtl'], 'MTL_Challenge/validation_set_annotations.txt']
    paths = [f'annotations/{name}' for name in names]
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            len(load(demo, 'mtl', ann_file=paths))
    finally:
        logger.removeHandler(caplog.handler)
    (line,) = [r.getMessage() for r in caplog.records if ' kept (' in r.getMessage()]
    read = line.removeprefix('AffWild2Dataset ').partition(': ')[0].split(', ')
    assert read == [str(demo / path) for path in paths]


@pytest.mark.parametrize('task', FILES)
def test_packed_crops_give_the_same_rows(demo, task, tmp_path):
    pack_crops(CropFolder(demo / 'cropped_aligned'), str(tmp_path / 'crops.lmdb'), workers=2)
    pipeline = [dict(type='LoadFaceCrop')]
    folder = load(demo, task, pipeline=pipeline)
    store = load(demo, task, pipeline=pipeline, data_prefix=str(tmp_path / 'crops.lmdb'))
    assert store.frames.name_frames() == folder.frames.name_frames()
    for target in get_targets(task):
        np.testing.assert_array_equal(store.frames[target.column], folder.frames[target.column])
    for row in (0, len(folder) - 1):
        np.testing.assert_array_equal(store[row]['img'], folder[row]['img'])


def test_several_multi_task_files_are_cached(demo, tmp_path):
    names = [FILES['mtl'], 'MTL_Challenge/validation_set_annotations.txt']
    paths = [f'annotations/{name}' for name in names]
    first, again = (load(demo, 'mtl', ann_file=paths, index_cache=str(tmp_path)) for _ in range(2))
    assert len(first) == sum(len(load(demo, 'mtl', ann_file=path)) for path in paths)
    assert isinstance(again.frames['va'], np.memmap)
    assert again.frames.name_frames() == first.frames.name_frames()
