"""Several streams of features: widths, masks, memory, and one folder as before."""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from abaw_mm.datasets import ClipFeatureDataset, FeatureFolder
from abaw_mm.errors import UserError
from abaw_mm.structures import FrameTable

TRAIN = 'annotations/EXPR_Recognition_Challenge/Train_Set'


@pytest.fixture
def video(tiny, make_features, tmp_path):
    """Features of all crops of the tiny data, 6 per frame."""
    return make_features(tmp_path / 'video', tiny)


@pytest.fixture
def audio(tmp_path):
    """Features of every second frame of one clip, 3 per frame; other clips have no sound."""
    numbers = list(range(2, 40, 2))
    folder = FeatureFolder.start(
        tmp_path / 'audio', dict(config='mel', sha256='b' * 64, layer='log-mel', dim=3)
    )
    folder.plan(FrameTable.from_clips({'video10_left': numbers, 'face clip 3': []}))
    features = np.arange(3 * len(numbers)).reshape(-1, 3).astype(np.float16)
    folder.write('video10_left', features)
    folder.write('face clip 3', np.empty((0, 3)))
    return dict(zip(numbers, features, strict=True))


@pytest.fixture
def windows(tiny, tmp_path):
    """Return a function that makes a dataset of these streams."""

    def make(streams=('video', 'audio'), **options):
        folders = {name: str(tmp_path / name) for name in streams}
        return ClipFeatureDataset(folders, TRAIN, data_root=str(tiny), **options)

    return make


def test_each_stream_has_its_width_and_its_mask(windows, video, audio):
    dataset = windows(window=6, context=2)
    single = ClipFeatureDataset(
        str(dataset.features.path), dataset_ann(dataset), window=6, context=2
    )
    assert len(dataset) == len(single)  # the first stream decides what is scored
    for item, alone in zip(dataset, single, strict=True):
        assert torch.equal(item['inputs']['video'], alone['inputs'])
        assert torch.equal(item['seen']['video'], alone['seen'])
        for name in ('scored', 'frame_no', 'gt_label'):
            assert torch.equal(item[name], alone[name])
        assert item['inputs']['audio'].shape == (10, 3)
        for at, number in enumerate(item['frame_no'].tolist()):
            feature = audio.get(number) if item['clip'] == 'video10_left' else None
            assert item['seen']['audio'][at] == (feature is not None)
            expected = 0 if feature is None else feature
            np.testing.assert_array_equal(item['inputs']['audio'][at], expected)


def dataset_ann(dataset):
    return str(dataset.features.path.parent / 'affwild2' / TRAIN)


def test_list_of_folders_is_numbered(windows, tiny, video, audio, tmp_path):
    named = windows(window=6)
    folders = [str(tmp_path / 'video'), str(tmp_path / 'audio')]
    numbered = ClipFeatureDataset(folders, TRAIN, str(tiny), window=6)
    assert list(numbered.streams) == ['0', '1']
    assert torch.equal(numbered[4]['inputs']['1'], named[4]['inputs']['audio'])


def test_items_of_one_folder_are_those_of_earlier_versions(tiny, video, tmp_path):
    dataset = ClipFeatureDataset(str(tmp_path / 'video'), TRAIN, str(tiny), window=5, context=2)
    digest = hashlib.sha256()
    for item in dataset:
        for name, value in item.items():
            digest.update(name.encode())
            digest.update(
                value.numpy().tobytes() if torch.is_tensor(value) else repr(value).encode()
            )
    assert len(dataset) == 10 and digest.hexdigest()[:16] == 'd11ded7929afdc4f'


def test_features_that_fit_are_held_read_only(windows, video, audio):
    held, read = windows(window=6), windows(window=6, memory_gb=0)
    size = sum(map(len, video.values())) * 6 * 2 + len(audio) * 3 * 2
    size -= sum(len(video[c]) * 12 for c in video if c not in held.frames.clips)
    clips = held.frames.clips
    assert sum(folder.count_bytes(clips) for folder in held.streams.values()) == size
    assert windows(memory_gb=size / 1e9).features._held
    assert not windows(memory_gb=(size - 1) / 1e9).features._held
    for one, other in zip(held, read, strict=True):
        for name in ('video', 'audio'):
            assert torch.equal(one['inputs'][name], other['inputs'][name])
    assert not isinstance(held.features.read('video10_left'), np.memmap)
    with pytest.raises(ValueError, match='read-only'):
        held.features.read('video10_left')[0] = 0
    # a process that is not forked reads from disk
    copy = pickle.loads(pickle.dumps(held))
    assert not copy.features._held and torch.equal(
        copy[0]['seen']['audio'], held[0]['seen']['audio']
    )


@pytest.mark.parametrize(
    ('streams', 'message'),
    [
        ({}, 'got the streams \\[\\], expected at least one'),
        ({'a.b': 'x'}, r"got the streams \['a.b'\]"),
        ({'video': 3}, 'got feature_dir.video=3, expected a path'),
        ({'video': 'gone'}, 'got no meta.json'),
    ],
)
def test_wrong_streams_are_refused(tiny, streams, message):
    with pytest.raises(UserError, match=message):
        ClipFeatureDataset(streams, TRAIN, data_root=str(tiny))


def test_stream_without_any_of_the_clips_or_with_missing_files_is_refused(
    windows, video, audio, tmp_path
):
    with pytest.raises(UserError, match='features of none of the 1 clips.*feature_dir.audio'):
        windows(clips=['1-30-1280x720'])
    (tmp_path / 'audio/clips/video10_left.npy').unlink()
    with pytest.raises(FileNotFoundError, match="no features yet of 'video10_left'"):
        windows()
