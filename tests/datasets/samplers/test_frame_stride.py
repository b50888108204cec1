"""Tests of FrameStrideSampler: which frames are drawn, on which rank, and how often."""

import random
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.dist import get_rank
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import DataLoader, Subset

from abaw_mm.datasets import (
    AffWild2Dataset,
    FrameStrideSampler,
)
from abaw_mm.datasets.samplers.frame_stride import (
    get_frame_table,
    repeat_factors,
)
from abaw_mm.errors import UserError
from abaw_mm.structures import FrameTable


@pytest.fixture
def dataset(tmp_path, make_clip):
    """Three clips of 25, 10 and 7 frames."""
    rng = np.random.default_rng(0)
    for clip, frames in (('a', 25), ('b', 10), ('c', 7)):
        labels = rng.choice(8, frames, p=[0.5, 0.02, 0.02, 0.02, 0.2, 0.1, 0.04, 0.1]).tolist()
        make_clip(tmp_path, 'Train_Set', clip, labels, size=4)
    return AffWild2Dataset(
        data_root=str(tmp_path), ann_file='annotations/EXPR_Recognition_Challenge/Train_Set'
    )


def by_clip(dataset, rows):
    """Return the positions of the drawn frames in each clip (no crop is missing)."""
    frames = dataset.frames
    return {
        clip: sorted(
            frames.frame_no[r] - 1 for r in rows if frames.clips[frames.clip_id[r]] == clip
        )
        for clip in frames.clips
    }


def on_ranks(sampler_of, world_size, monkeypatch):
    samplers = []
    for rank in range(world_size):
        monkeypatch.setattr(
            'abaw_mm.datasets.samplers.frame_stride.get_dist_info', lambda r=rank: (r, world_size)
        )
        samplers.append(sampler_of())
    return samplers


def test_draws_one_of_every_stride(dataset):
    sampler = FrameStrideSampler(dataset, stride=5, seed=1)
    seen = set()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        drawn = by_clip(dataset, sampler)
        offsets = {clip: positions[0] for clip, positions in drawn.items()}
        assert drawn['a'] == [offsets['a'] + 5 * k for k in range(5)]  # one frame in five
        assert drawn['b'] == [offsets['b'] + 5 * k for k in range(2)]
        seen.add(tuple(offsets.values()))
    assert {o[0] for o in seen} == set(range(5))  # every offset occurs, including 0
    assert any(len(set(o)) > 1 for o in seen)  # clips have different offsets


def test_offset_per_epoch_or_fixed(dataset):
    sampler = FrameStrideSampler(dataset, stride=5, offset='epoch', seed=1)
    seen = set()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        offsets = {positions[0] for positions in by_clip(dataset, sampler).values()}
        assert len(offsets) == 1
        seen |= offsets
    assert seen == set(range(5))
    fixed = FrameStrideSampler(dataset, stride=5, offset=3)
    for epoch in range(3):
        fixed.set_epoch(epoch)
        assert by_clip(dataset, fixed) == {'a': [3, 8, 13, 18, 23], 'b': [3, 8], 'c': [3]}


def test_stride_1_is_plain_sampling(dataset):
    sampler = FrameStrideSampler(dataset, stride=1, seed=0)
    assert sorted(sampler) == list(range(42)) and list(sampler) != list(range(42))
    plain = FrameStrideSampler(dataset, stride=1, shuffle=False)
    assert list(plain) == list(range(42)) and len(plain) == 42


def test_epochs_and_seeds_differ_and_repeat(dataset):
    def rows(seed, epoch):
        sampler = FrameStrideSampler(dataset, stride=2, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert rows(0, 3) == rows(0, 3)
    assert rows(0, 3) != rows(0, 4) and rows(0, 3) != rows(1, 3)


@pytest.mark.parametrize('world_size', [2, 3])
def test_ranks_share_without_overlap(dataset, monkeypatch, world_size):
    def make(**kwargs):
        return on_ranks(
            lambda: FrameStrideSampler(dataset, stride=1, seed=5, **kwargs), world_size, monkeypatch
        )

    single = make(round_up=False)[0].draw(0).tolist()
    parts = [list(sampler) for sampler in make(round_up=False)]
    assert sorted(sum(parts, [])) == sorted(single)
    assert [len(part) for part in parts] == [len(sampler) for sampler in make(round_up=False)]
    padded = [list(sampler) for sampler in make(round_up=True)]
    assert len({len(part) for part in padded}) == 1 == len({len(s) for s in make(round_up=True)})
    assert set(sum(padded, [])) == set(single)


def check_rank(dataset, expected):
    """Check this rank's share of the draw, in a process group."""
    sampler = FrameStrideSampler(dataset, stride=3, seed=7, round_up=False)
    assert list(sampler) == expected[get_rank() :: 2]
    seedless = FrameStrideSampler(dataset, stride=3)
    seeds = [None, None]
    torch.distributed.all_gather_object(seeds, seedless.seed)
    assert seeds[0] == seeds[1]


def test_two_processes_share_one_draw(dataset, run_distributed):
    expected = FrameStrideSampler(dataset, stride=3, seed=7).draw(0).tolist()
    assert len(expected) % 2 == 1
    run_distributed(check_rank, dataset, expected)


@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_infinite_streams_all_epochs(dataset, monkeypatch, world_size):
    samplers = on_ranks(
        lambda: FrameStrideSampler(dataset, stride=3, seed=2, infinite=True),
        world_size,
        monkeypatch,
    )
    stream = np.concatenate([samplers[0].draw(epoch) for epoch in range(20)]).tolist()
    parts = [list(islice(sampler, 60)) for sampler in samplers]
    mixed = [row for step in zip(*parts, strict=True) for row in step]
    assert mixed == stream[: 60 * world_size]


@pytest.mark.parametrize('world_size', [1, 2, 3])
@pytest.mark.parametrize('skipped', [0, 1, 7, 14, 15, 100])
def test_skip_continues_where_a_run_stopped(dataset, monkeypatch, world_size, skipped):
    def make():
        return on_ranks(
            lambda: FrameStrideSampler(dataset, stride=3, seed=2, infinite=True),
            world_size,
            monkeypatch,
        )

    for resumed, straight in zip(make(), make(), strict=True):
        resumed.skip(skipped)
        assert list(islice(resumed, 40)) == list(islice(straight, skipped + 40))[skipped:]


def test_skip_adds_up_and_ends_with_the_epoch(dataset):
    sampler = FrameStrideSampler(dataset, stride=1, seed=2)
    whole = list(sampler)
    sampler.skip(3)
    sampler.skip(4)
    assert list(sampler) == whole[7:]
    sampler.set_epoch(1)
    assert len(list(sampler)) == 42
    with pytest.raises(ValueError, match='skip'):
        sampler.skip(-1)


def test_skipping_many_frames_is_fast(dataset):
    sampler = FrameStrideSampler(dataset, stride=1, infinite=True, seed=0)
    sampler.skip(100_000)
    assert next(iter(sampler)) == sampler.draw(100_000 // 42)[100_000 % 42]


def test_class_balance_equals_mmpretrain(dataset):
    sampler = FrameStrideSampler(
        dataset, stride=2, seed=3, shuffle=False, class_balance=dict(oversample_thr=0.15)
    )
    drawn = FrameStrideSampler(dataset, stride=2, seed=3, shuffle=False).draw(0)
    reference = ClassBalancedDataset(dataset.get_subset(drawn), oversample_thr=0.15)
    expected = [drawn[i] for i in reference.repeat_indices]
    assert sampler.draw(0).tolist() == expected
    assert len(expected) > len(drawn)


def test_repeat_factors_by_hand():
    labels = np.repeat([0, 1, 2], [80, 15, 5])  # shares .8, .15, .05: 1, 1, ceil(sqrt(3)) = 2
    assert repeat_factors(labels, 0.15).tolist() == [1] * 95 + [2] * 5
    labels = np.repeat([0, 3], [98, 2])  # share .02: ceil(sqrt(7.5)) = 3
    assert repeat_factors(labels, 0.15)[-1] == 3


def test_looks_inside_wrappers(dataset):
    labels = dataset.get_gt_labels()
    table = get_frame_table(ConcatDataset([dataset, dataset.get_subset(range(30, 42))]))
    assert table['label'].tolist() == [*labels, *labels[30:]]
    assert len(set(table.clip_id[:42]) & set(table.clip_id[42:])) == 0
    table = get_frame_table(RepeatDataset(dataset, times=2))
    assert len(set(table.clip_id)) == 6 and table['label'].tolist() == [*labels, *labels]
    fold = KFoldDataset(
        dict(type='AffWild2Dataset', data_root=dataset.data_root, ann_file=dataset.ann_file),
        fold=1,
        num_splits=3,
        seed=4,
    )
    rows = fold._ori_indices
    table = get_frame_table(fold)
    assert table['label'].tolist() == labels[rows].tolist()
    # Frame numbers decide, not the order of a shuffled fold: one frame in three of each clip.
    drawn = FrameStrideSampler(fold, stride=3, offset=0, shuffle=False).draw(0)
    for clip_id in range(3):
        numbers = sorted(table.frame_no[table.clip_id == clip_id])
        picked = table.take(drawn)
        assert sorted(picked.frame_no[picked.clip_id == clip_id]) == numbers[::3]
    part = get_frame_table(Subset(dataset, [5, 3, 40]))
    assert part.frame_no.tolist() == dataset.frames.frame_no[[5, 3, 40]].tolist()
    with pytest.raises(TypeError, match='got a list, expected an AffWild2Dataset'):
        FrameStrideSampler([1, 2])


def test_draws_leave_the_global_random_state(dataset):
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    sampler = FrameStrideSampler(
        dataset, stride=3, seed=0, class_balance=dict(oversample_thr=0.15), infinite=True
    )
    list(islice(sampler, 100))
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])


def test_works_in_a_data_loader(dataset):
    sampler = DATA_SAMPLERS.build(
        dict(type='FrameStrideSampler', dataset=dataset, stride=2, seed=0, infinite=True)
    )
    loader = DataLoader(range(42), batch_size=8, sampler=sampler, num_workers=1)
    batches = list(islice(loader, 4))
    assert torch.cat(batches).tolist() == list(islice(sampler, 32))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(stride=0), 'stride=0, expected'),
        (dict(stride=2.5), 'stride=2.5'),
        (dict(offset='video'), "offset='video', expected 'clip', 'epoch' or a number in 0..9"),
        (dict(offset=10), 'offset=10'),
        (dict(stride=100, offset=60), 'the longest clip has 25 frames'),
        (dict(class_balance=dict(thr=0.1)), 'class_balance'),
        (dict(class_balance=0.15), 'class_balance'),
        (dict(class_balance=dict(oversample_thr=0)), 'class_balance'),
        (dict(class_balance=dict(oversample_thr='x')), 'class_balance'),
        (dict(seed=-1), 'seed=-1, expected.*train_dataloader.sampler.seed'),
        (dict(seed=1.5), 'seed=1.5'),
        (dict(seed='x'), "seed='x'"),
    ],
)
def test_rejects_invalid_arguments(dataset, kwargs, message):
    with pytest.raises(UserError, match=message):
        FrameStrideSampler(dataset, **kwargs)


def test_full_size_draw():
    """A draw from 2.7 million frames needs no Python loop over frames."""
    dataset = AffWild2Dataset('unread', lazy_init=True)
    dataset.frames = FrameTable.from_clips({str(i): range(1, 4547) for i in range(594)})
    dataset._fully_initialized = True
    assert len(FrameStrideSampler(dataset, seed=0)) == pytest.approx(594 * 454.6, rel=0.01)


@pytest.mark.parametrize('world_size', [1, 2, 3])
@pytest.mark.parametrize('batch', [4, 5])
def test_keys_depend_on_frame_and_epoch_only(dataset, monkeypatch, world_size, batch):
    """Every frame of every epoch has one key, for any number of ranks and any batch size."""
    expected = FrameStrideSampler(dataset, stride=3, seed=2, infinite=True)
    row = list(islice(expected, 120))
    by_place = dict(enumerate(zip(row, expected.keys(0, 120).tolist(), strict=True)))
    assert len(set(expected.keys(0, 120).tolist())) == 120
    for skipped in (0, 3):
        samplers = on_ranks(
            lambda: FrameStrideSampler(dataset, stride=3, seed=2, infinite=True),
            world_size,
            monkeypatch,
        )
        for rank, sampler in enumerate(samplers):
            sampler.skip(skipped * batch)
            frames = iter(sampler)
            for step in range(skipped, 8):
                drawn = list(islice(frames, batch))
                keys = sampler.keys(step * batch, batch).tolist()
                places = [rank + (step * batch + i) * world_size for i in range(batch)]
                pairs = list(zip(drawn, keys, strict=True))
                assert pairs == [by_place[place] for place in places]


def test_keys_of_a_finite_sampler(dataset, monkeypatch):
    endless = FrameStrideSampler(dataset, stride=3, seed=2, infinite=True)
    row = list(islice(endless, len(endless)))
    samplers = on_ranks(lambda: FrameStrideSampler(dataset, stride=3, seed=2), 2, monkeypatch)
    keys = dict(zip(row, endless.keys(0, len(row)).tolist(), strict=True))
    for sampler in samplers:
        drawn = list(sampler)
        assert sampler.keys(0, len(drawn)).tolist() == [keys[frame] for frame in drawn]
        sampler.set_epoch(1)
        assert not set(sampler.keys(0, 3).tolist()) & set(keys.values())


def test_uniform_classes_are_drawn_equally_often_and_fairly(dataset):
    sampler = FrameStrideSampler(dataset, stride=2, seed=3, class_balance='uniform')
    plain = FrameStrideSampler(dataset, stride=2, seed=3, shuffle=False)
    label = get_frame_table(dataset)['label']
    for epoch in range(3):
        drawn, pool = sampler.draw(epoch), plain.draw(epoch)
        assert set(drawn) <= set(pool)  # frames of this epoch's offsets
        present = np.unique(label[pool])
        size = -(-len(pool) // len(present))
        assert np.array_equal(np.bincount(label[drawn])[present], np.full(len(present), size))
        for number in present:
            times = np.bincount(drawn[label[drawn] == number], minlength=len(label))
            times = times[pool[label[pool] == number]]
            assert times.max() - times.min() <= 1
    assert not np.array_equal(sampler.draw(0), sampler.draw(1))
    assert np.array_equal(
        sampler.draw(0),
        FrameStrideSampler(dataset, stride=2, seed=3, class_balance='uniform').draw(0),
    )
