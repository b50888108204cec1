"""Labels and crops joined to columns."""

import time

import numpy as np
import pytest

from abaw_mm.datasets.frame_index import (
    find_listed_crops,
    join_labels_and_crops,
)


def crops_of(*numbers):
    return np.array(numbers, np.int32), np.zeros(len(numbers), np.int8)


def test_join_keeps_labelled_frames_with_a_crop():
    labels = {'b': np.array([5, -1, 6, 7], np.int8), 'a': np.array([0, 1], np.int8)}
    frames = join_labels_and_crops(labels, {'a': crops_of(2), 'b': crops_of(1, 2, 4)})
    assert frames.clips == ['a', 'b']
    assert frames.clip_id.tolist() == [0, 1, 1]
    assert frames.frame_no.tolist() == [2, 1, 4]  # line i, from 1, is file i
    assert frames.label.tolist() == [1, 5, 7]
    assert frames.counts['unlabelled'] == 1 and frames.counts['missing'] == 2


def test_join_refuses_crops_of_the_other_start():
    labels = {'a': np.zeros(3, np.int8)}
    with pytest.raises(ValueError, match="numbered from 0 .clip 'a'.*set start_index=0"):
        join_labels_and_crops(labels, {'a': crops_of(0, 1, 2)}, start_index=1)
    with pytest.raises(ValueError, match='set start_index=1'):
        join_labels_and_crops(labels, {'a': crops_of(1, 2, 3)}, start_index=0)
    frames = join_labels_and_crops(labels, {'a': crops_of(0, 2)}, start_index=0)
    assert frames.frame_no.tolist() == [0, 2]


def test_join_reports_crops_beyond_the_labels():
    frames = join_labels_and_crops({'a': np.zeros(2, np.int8)}, {'a': crops_of(1, 2, 3)})
    assert frames.frame_no.tolist() == [1, 2]
    assert frames.counts['overhang'] == [['a', 3, 2]]


def test_join_refuses_no_crop_at_all():
    with pytest.raises(FileNotFoundError, match='data_prefix'):
        join_labels_and_crops({'a': np.zeros(2, np.int8)}, {'a': crops_of()})


def test_listed_frames_keep_their_order():
    clip_id, frame_no = np.array([0, 0, 1], np.int32), np.array([2, 1, 1], np.int32)
    crops = {'b c': crops_of(1), 'a_left': crops_of(2)}
    found = find_listed_crops(['b c', 'a_left'], clip_id, frame_no, crops)
    assert found.clips == ['b c', 'a_left'] and found.frame_no.tolist() == [2, 1, 1]
    assert found.root_id.tolist() == [-1, 0, -1]
    assert set(found.label.tolist()) == {-1}
    assert found.counts['missing'] == 2


def test_full_size_is_small_and_quick():
    """2.7 million frames in 594 clips: under 60 MB; the time is only bounded loosely here."""
    labels = {f'{i:03d}': np.zeros(4546, np.int8) for i in range(594)}
    crops = {clip: (np.arange(1, 4547, dtype=np.int32), np.zeros(4546, np.int8)) for clip in labels}
    start = time.perf_counter()
    frames = join_labels_and_crops(labels, crops)
    seconds = time.perf_counter() - start
    assert len(frames) == 594 * 4546
    columns = (frames.clip_id, frames.frame_no, frames.label, frames.root_id)
    assert sum(column.nbytes for column in columns) < 60e6 / 2
    assert seconds < 5  # benchmarks/loading.py measures it
