"""Tests of FrameTable against plain Python dicts from (clip, frame number) to values."""

import numpy as np
import pytest

from abaw_mm.structures import FrameTable, chain_tables, merge_tables, to_int32

NAN = float('nan')


def random_table(seed, clips=('b', 'a', 'empty', 'c'), size=40, shuffle=False):
    """Frames of some clips with an integer, a float and a (F, K) column; 'empty' has none."""
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice([i for i, c in enumerate(clips) if c != 'empty'], size))
    numbers = np.concatenate(
        [np.sort(rng.permutation(99)[: np.sum(ids == i)]) for i in range(len(clips))]
    )
    valence = np.where(rng.random(size) < 0.2, NAN, rng.standard_normal(size))
    table = FrameTable(
        list(clips),
        ids.astype(np.int32),
        numbers.astype(np.int32),
        dict(label=rng.integers(-1, 8, size), valence=valence, units=rng.random((size, 12)) < 0.5),
    )
    return table.take(rng.permutation(size)) if shuffle else table


def to_dict(table):
    """(clip, frame number) to values; the first of equal frames, NaN as text."""
    rows = {}
    for row, (clip_id, number) in enumerate(
        zip(table.clip_id.tolist(), table.frame_no.tolist(), strict=True)
    ):
        values = {name: repr(column[row].tolist()) for name, column in table.columns.items()}
        rows.setdefault((table.clips[clip_id], number), values)
    return rows


tables = pytest.mark.parametrize(
    'table',
    [
        random_table(0),
        random_table(1, shuffle=True),
        random_table(2, ('x',), 5),
        random_table(3, ('a', 'empty'), 0),
        FrameTable.from_clips({}),
    ],
    ids=['sorted', 'shuffled', 'one clip', 'no frames', 'no clips'],
)


def test_from_clips_keeps_order_and_columns():
    table = FrameTable.from_clips(
        {'b': [7, 2], 'a': [], 'c': range(3)},
        valence={'b': [0.5, NAN], 'a': [], 'c': [0, 1, 2]},
        units={'b': np.ones((2, 3)), 'a': np.ones((0, 3)), 'c': np.zeros((3, 3))},
    )
    assert table.clips == ['b', 'a', 'c'] and table.clip.tolist() == ['b', 'b', 'c', 'c', 'c']
    assert (table.clip_id.dtype, table.frame_no.dtype) == (np.int32, np.int32)
    assert table.frame_no.tolist() == [7, 2, 0, 1, 2]
    np.testing.assert_array_equal(table['valence'], [0.5, NAN, 0, 1, 2])
    assert table['units'].shape == (5, 3)
    assert table.describe(1) == "frame 2 of 'b'" and table.name_frames()[:2] == ['b/7', 'b/2']


def test_from_rows_sorts_clips_only():
    table = FrameTable.from_rows(['b', 'a', 'b'], [7, 1, 2], valence=[0.5, NAN, 1])
    assert table.clips == ['a', 'b'] and table.clip.tolist() == ['b', 'a', 'b']
    assert table.frame_no.tolist() == [7, 1, 2] and len(table['valence']) == 3
    assert len(FrameTable.from_rows([], [])) == 0


@tables
def test_sort_orders_by_clip_and_frame_number(table):
    result = table.sort()
    assert result.is_sorted() and to_dict(result) == to_dict(table)
    frames = list(zip(table.clip_id.tolist(), table.frame_no.tolist(), strict=True))
    assert list(zip(result.clip_id, result.frame_no, strict=True)) == sorted(frames)
    assert table.is_sorted() == (frames == sorted(set(frames)))


@tables
def test_rows_by_clip(table):
    rows = table.rows_by_clip()
    assert len(rows) == len(table.clips)
    every = np.arange(len(table))
    for clip_id, clip_rows in enumerate(rows):
        expected = [r for r, i in enumerate(table.clip_id.tolist()) if i == clip_id]
        assert every[clip_rows].tolist() == expected
    assert table.count_by_clip().tolist() == [len(every[clip_rows]) for clip_rows in rows]


@tables
def test_search_in_a_clip(table):
    table = table.sort()
    for clip_id in range(len(table.clips)):
        rows = table.rows_of(clip_id)
        numbers = table.frame_no[rows].tolist()
        wanted = [0, 17, 50, 200]
        expected = [rows.start + sum(n < w for n in numbers) for w in wanted]
        assert table.search(clip_id, wanted).tolist() == expected


@tables
def test_find_frames_of_other_clips_and_order(table):
    other = FrameTable.from_rows(['c', 'a', 'gone', 'x', 'a'], [5, 17, 1, 3, 98])
    if len(table):  # also all frames of the table, in another order
        clips = [*other.clip, *table.clip]
        other = FrameTable.from_rows(clips, np.append(other.frame_no, table.frame_no))
    row_of = {}
    for row, (clip, number) in enumerate(zip(table.clip, table.frame_no.tolist(), strict=True)):
        row_of.setdefault((clip, number), row)
    wanted = zip(other.clip, other.frame_no.tolist(), strict=True)
    expected = [row_of.get(frame, -1) for frame in wanted]
    assert table.find(other).tolist() == expected
    assert table.find_missing(other).tolist() == [i for i, row in enumerate(expected) if row < 0]
    assert other.find(FrameTable.from_clips({})).tolist() == []


@tables
def test_select_clips(table):
    selected = table.select_clips(['c', 'new', 'a'])
    assert selected.clips == ['c', 'new', 'a']
    expected = {key: row for key, row in to_dict(table).items() if key[0] in ('c', 'a')}
    assert to_dict(selected) == expected and len(selected) == len(expected)
    assert np.all(np.diff(selected.clip_id) >= 0)


@tables
def test_duplicates_are_found(table):
    assert table.find_duplicates().tolist() == []
    again = table.take(np.tile(np.arange(len(table)), 2))
    assert sorted(again.find_duplicates()) == list(range(len(table), 2 * len(table)))


@tables
def test_take_and_with_columns_leave_the_table_unchanged(table):
    before = to_dict(table)
    mask = table.frame_no % 2 == 0
    assert to_dict(table.take(mask)) == {k: v for k, v in before.items() if k[1] % 2 == 0}
    changed = table.with_columns(extra=np.zeros((len(table), 2)))
    assert 'extra' in changed.columns and 'extra' not in table.columns
    assert to_dict(table) == before


def test_chain_keeps_clips_of_the_same_name_apart():
    one, other = random_table(0), random_table(1, shuffle=True)
    table = chain_tables([one, other, one])
    assert table.clips == one.clips + other.clips + one.clips
    assert table.clip_id.dtype == np.int32 and len(set(table.clip_id)) == 9
    np.testing.assert_array_equal(table['units'][40:80], other['units'])
    assert to_dict(table.take(slice(40, 80))) == to_dict(other)
    assert chain_tables([one]) is one


def test_merge_equals_a_dict_of_all_frames():
    whole = random_table(4)
    rng = np.random.default_rng(5)
    parts = []
    for rank in range(3):
        part = whole.take(rng.permutation(np.arange(rank, 43, 3) % 40))  # some frames twice
        order = rng.permutation(len(whole.clips))  # each process lists clips in another order
        parts.append(part.select_clips([whole.clips[i] for i in order]))
    nothing = whole.take(np.empty(0, int))
    merged = merge_tables([nothing, *parts], targets=['label', 'valence', 'units'])
    assert merged.is_sorted() and merged.clips == sorted(whole.clips)
    assert to_dict(merged) == to_dict(whole) and len(merged) == len(whole)
    assert len(merge_tables([nothing, nothing])) == 0


@pytest.mark.parametrize(
    'first, second, differ',
    [
        ([1, 2], [1, 2], False),
        ([1, 2], [1, 3], True),
        ([1.0, NAN], [1.0, NAN], False),
        ([1.0, 2.0], [1.0, NAN], True),
        ([1.0, NAN], [1.0, 2.0], True),
    ],
)
def test_merge_compares_targets_of_copies(first, second, differ):
    parts = [FrameTable.from_clips({'a': [1]}, va={'a': [values]}) for values in (first, second)]
    assert merge_tables(parts)['va'].tolist() == [first] or np.isnan(first).any()
    if differ:
        with pytest.raises(ValueError, match="frame 1 of 'a': got two values of va"):
            merge_tables(parts, targets=['va'])
    else:
        assert len(merge_tables(parts, targets=['va'])) == 1


@pytest.mark.parametrize('number', [2**31, 2**32, 2**64, -(2**31) - 1, 0.5, 'x'])
def test_numbers_beyond_int32_are_refused_not_wrapped(number):
    for make in (
        lambda: to_int32([1, number], 'n'),
        lambda: FrameTable.from_clips({'a': [1, number]}),
        lambda: FrameTable.from_rows(['a', 'a'], [1, number]),
    ):
        with pytest.raises(ValueError, match='expected integers of up to 2147483647'):
            make()


def test_numbers_within_int32_keep_their_value():
    for dtype in (np.uint8, np.int64, np.uint64, bool):
        assert to_int32(np.array([0, 1], dtype), 'n').tolist() == [0, 1]
    assert to_int32([2**31 - 1, -(2**31)], 'n').tolist() == [2**31 - 1, -(2**31)]
    assert to_int32([], 'n').dtype == np.int32
