"""Tests of joining annotations and crops."""

import time

import numpy as np
import pytest

from abaw_mm.datasets.annotations import number_lines
from abaw_mm.datasets.frame_index import find_listed_crops, join_labels_and_crops
from abaw_mm.structures import FrameTable


def crops_of(**numbers):
    """Crops by clip, all in the first root."""
    return FrameTable.from_clips(
        numbers, source={clip: np.zeros(len(part), np.int8) for clip, part in numbers.items()}
    )


def labels_of(start_index=1, **labels):
    return number_lines(
        start_index, label={clip: np.array(part, np.int8) for clip, part in labels.items()}
    )


def test_join_keeps_labelled_frames_with_a_crop():
    labels = labels_of(b=[5, -1, 6, 7], a=[0, 1])
    frames = join_labels_and_crops(labels, crops_of(a=[2], b=[1, 2, 4]))
    assert frames.clips == ['a', 'b'] and frames.is_sorted()
    assert frames.name_frames() == ['a/2', 'b/1', 'b/4']  # line i, from 1, is crop i
    assert frames['label'].tolist() == [1, 5, 7]
    assert frames['source'].dtype == frames['label'].dtype == np.int8
    assert frames.counts['unlabelled'] == 1 and frames.counts['missing'] == 2


@pytest.mark.parametrize(
    'start_index, crops, message',
    [
        (1, [0, 1, 2], "numbered from 0 .clip 'a'.*set start_index=0"),
        (0, [1, 2, 3], 'set start_index=1'),
    ],
)
def test_join_rejects_crops_that_contradict_start_index(start_index, crops, message):
    with pytest.raises(ValueError, match=message):
        join_labels_and_crops(labels_of(start_index, a=[0, 0, 0]), crops_of(a=crops))


def test_join_accepts_start_index_0():
    frames = join_labels_and_crops(labels_of(0, a=[3, 4, 5]), crops_of(a=[0, 2]))
    assert frames.frame_no.tolist() == [0, 2] and frames['label'].tolist() == [3, 5]


def test_join_counts_crops_beyond_the_labels_and_clips_without_crops():
    frames = join_labels_and_crops(labels_of(a=[0, 0], b=[1]), crops_of(a=[1, 2, 3], b=[]))
    assert frames.frame_no.tolist() == [1, 2]
    assert frames.counts['overhang'] == [['a', 3, 2]] and frames.counts['no_folder'] == ['b']


def test_join_needs_a_crop():
    with pytest.raises(FileNotFoundError, match='data_prefix'):
        join_labels_and_crops(labels_of(a=[0, 0]), crops_of(a=[]))


def test_listed_frames_keep_their_order():
    listed = FrameTable(['b c', 'a'], np.array([0, 0, 1], np.int32), np.array([2, 1, 1], np.int32))
    found = find_listed_crops(listed, crops_of(**{'b c': [1], 'a': [2]}))
    assert found.name_frames() == ['b c/2', 'b c/1', 'a/1']
    assert found['source'].tolist() == [-1, 0, -1] and set(found['label']) == {-1}
    assert found.counts['missing'] == 2


def test_join_passes_any_columns():
    valence = {'a': np.array([0.5, -5, 0.25], np.float32), 'b': np.array([1.0], np.float32)}
    units = {clip: np.arange(len(part))[:, None] + np.arange(12) for clip, part in valence.items()}
    lines = number_lines(valence=valence, units=units)
    crops = crops_of(b=[1], a=[2, 3])
    frames = join_labels_and_crops(lines, crops, is_labelled=lines['valence'] != -5)
    assert frames.name_frames() == ['a/3', 'b/1'] and frames.counts['unlabelled'] == 1
    assert frames['valence'].tolist() == [0.25, 1.0] and frames['valence'].dtype == np.float32
    assert frames['units'][:, 0].tolist() == [2, 0] and frames['units'].shape == (2, 12)


def test_join_of_a_full_size_set_is_small_and_fast():
    labels = number_lines(label={f'{i:03d}': np.zeros(4546, np.int8) for i in range(594)})
    crops = labels.with_columns(source=labels['label'])
    start = time.perf_counter()
    frames = join_labels_and_crops(labels, crops)
    assert time.perf_counter() - start < 5  # benchmarks/loading.py measures it
    assert len(frames) == 594 * 4546
    columns = (frames.clip_id, frames.frame_no, *frames.columns.values())
    assert sum(column.nbytes for column in columns) < 30e6
