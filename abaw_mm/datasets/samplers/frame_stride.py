"""One frame of every ten, drawn anew each epoch, the same on every rank."""

import itertools
from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.dist import get_dist_info, sync_random_seed
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import Sampler, Subset

from abaw_mm.datasets.affwild2 import AffWild2Dataset
from abaw_mm.datasets.samplers.keyed_random import random_keys
from abaw_mm.datasets.unwrap_datasets import inner_datasets

OFFSETS = ('clip', 'epoch')


def clip_columns(dataset: Sized) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clip, frame number and label of every sample of a dataset.

    Sees through mmengine's ``ConcatDataset`` and ``RepeatDataset``, mmpretrain's ``KFoldDataset``
    and torch's ``Subset``; two datasets of a concatenation, and two repetitions, never share a
    clip.

    Returns:
        tuple: Three (F, ) arrays: clip id (int32), frame number (int32), label (int8).

    Raises:
        TypeError: For a dataset that has no frames of clips.
    """
    if isinstance(dataset, AffWild2Dataset):
        dataset.full_init()
        frames = dataset.frames
        return frames.clip_id, frames.frame_no, frames.label
    if isinstance(dataset, (ConcatDataset, RepeatDataset, KFoldDataset, Subset)):
        parts = [clip_columns(part) for part in inner_datasets(dataset)]
        columns = _chain(parts * getattr(dataset, 'times', 1))
        if not isinstance(dataset, Subset):
            return columns
        rows = np.asarray(dataset.indices, dtype=np.int64)
        return tuple(column[rows] for column in columns)
    raise TypeError(
        f'FrameStrideSampler: got a {type(dataset).__name__}, expected an AffWild2Dataset, or a '
        'ConcatDataset, RepeatDataset, KFoldDataset or Subset of such; set '
        "sampler=dict(type='DefaultSampler') for other datasets, and leave balancing classes to "
        'class_balance of this sampler'
    )


def _chain(parts: list[tuple]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of several datasets one after the other, with clip ids of their own."""
    if len(parts) == 1:  # no copy
        return parts[0]
    columns, first = [], 0
    for clip_id, frame_no, label in parts:
        columns.append((clip_id + first, frame_no, label))
        first += int(clip_id.max(initial=-1)) + 1
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))


def repeat_factors(labels: np.ndarray, oversample_thr: float) -> np.ndarray:
    """How often a frame of each class is used, as mmpretrain's ``ClassBalancedDataset`` counts.

    A class that holds the share f of the frames is repeated ``ceil(max(1, sqrt(thr / f)))``
    times (repeat factor sampling of LVIS, arXiv 1908.03195; the released code uses thr 0.15).

    Args:
        labels (ndarray): (F, ) labels.
        oversample_thr (float): Share, 0-1, below which a class counts as rare.

    Returns:
        ndarray: (F, ) int64, how often each frame is used.

    >>> repeat_factors(np.array([0] * 96 + [1] * 4), 0.15)[[0, -1]]
    array([1, 2])
    """
    if not len(labels):
        return np.ones(0, np.int64)
    share = np.bincount(labels) / len(labels)
    with np.errstate(divide='ignore'):
        factor = np.maximum(1.0, np.sqrt(oversample_thr / share))
    return np.ceil(factor[labels]).astype(np.int64)


@DATA_SAMPLERS.register_module()
class FrameStrideSampler(Sampler):
    """Draw one of every ``stride`` consecutive frames of each clip, anew each epoch.

    Neighbouring frames are nearly alike, so the paper trains on one of ten and moves the offset
    every epoch (Sec. 4.1, Table 3: macro-F1 34.85 with 1/10, 32.23 with all). *Consecutive* are
    the frames that the dataset keeps, in the order of their numbers: frame p of a clip, p from 0,
    is drawn where ``p % stride`` equals the offset.

    The draw depends on the seed and the epoch alone: every rank makes the same one and takes its
    own share, without overlap. The global random state is neither read nor changed.

    Args:
        dataset (Sized): An ``AffWild2Dataset``, or a ``ConcatDataset``, ``RepeatDataset``,
            ``KFoldDataset`` or ``Subset`` of such.
        stride (int): Frames of which one is drawn. 1 is plain sampling. Defaults to 10.
        offset (str | int): ``'clip'`` draws one offset for each clip, ``'epoch'`` one for all
            clips, either anew each epoch; a number in 0..stride-1 is used as it is. Defaults to
            ``'clip'``.
        shuffle (bool): Whether to shuffle the drawn frames. Defaults to True.
        seed (int, optional): From 0 on. Defaults to a random one that all ranks agree on.
        infinite (bool): Go on with the next epoch without end, for mmengine's
            ``IterBasedTrainLoop``, which otherwise rests two seconds and starts its workers anew
            at every pass. The ranks share one endless row of frames. Defaults to False.
        round_up (bool): Repeat a few frames so that every rank has as many; without
            ``infinite`` only. Defaults to True.
        class_balance (dict, optional): ``dict(oversample_thr=0.15)`` repeats drawn frames of rare
            classes, see :func:`repeat_factors`. Defaults to None.

    Raises:
        ValueError: For arguments out of range, or a draw that could never hold a frame.
        TypeError: For a dataset that has no clips.
    """

    def __init__(
        self,
        dataset: Sized,
        stride: int = 10,
        offset: str | int = 'clip',
        shuffle: bool = True,
        seed: int | None = None,
        infinite: bool = False,
        round_up: bool = True,
        class_balance: dict | None = None,
    ) -> None:
        if not isinstance(stride, int) or stride < 1:
            raise ValueError(
                f'FrameStrideSampler: stride={stride!r}, expected a number of frames from 1 on; '
                'set train_dataloader.sampler.stride'
            )
        if offset not in OFFSETS and not (isinstance(offset, int) and 0 <= offset < stride):
            raise ValueError(
                f"FrameStrideSampler: offset={offset!r}, expected 'clip', 'epoch' or a number in "
                f'0..{stride - 1}; set train_dataloader.sampler.offset'
            )
        if class_balance is not None and (
            not isinstance(class_balance, dict)
            or set(class_balance) != {'oversample_thr'}
            or not 0 < class_balance['oversample_thr'] <= 1
        ):
            raise ValueError(
                f'FrameStrideSampler: class_balance={class_balance}, expected '
                'dict(oversample_thr=t) with 0 < t <= 1; set train_dataloader.sampler.class_balance'
            )
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(
                f'FrameStrideSampler: seed={seed!r}, expected a number from 0 on, or None for a '
                'random one; set train_dataloader.sampler.seed'
            )
        self.dataset = dataset
        self.rank, self.world_size = get_dist_info()
        self.stride = stride
        self.offset = offset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.infinite = infinite
        self.round_up = round_up
        self.oversample_thr = class_balance['oversample_thr'] if class_balance else None
        self.epoch = 0
        self._skipped = 0
        self._passed: list[int] = []  # frames up to the end of each epoch, where infinite
        self._drawn: tuple[int, np.ndarray] | None = None

        clip_id, frame_no, label = clip_columns(dataset)
        if self.oversample_thr and np.any(label < 0):
            raise ValueError(
                'FrameStrideSampler: class_balance needs labels, got a set whose labels are '
                'hidden; leave class_balance out for a list of test frames'
            )
        self._label = label if self.oversample_thr else None
        # A fold or a subset may hold its rows in any order; the draw goes by clip and number.
        same = clip_id[1:] == clip_id[:-1]
        rising = (clip_id[1:] > clip_id[:-1]) | (same & (frame_no[1:] > frame_no[:-1]))
        self._row = None
        if not rising.all():
            self._row = np.lexsort((frame_no, clip_id))
            same = clip_id[self._row[1:]] == clip_id[self._row[:-1]]
        # Of each clip: its first row, and how many it has.
        ends = np.flatnonzero(np.append(~same, len(clip_id) > 0)) + 1
        self._starts = np.append(0, ends[:-1])[: len(ends)]
        self._lengths = ends - self._starts
        longest = int(self._lengths.max(initial=0))
        if longest <= (offset if isinstance(offset, int) else 0):
            raise ValueError(
                f'FrameStrideSampler: the longest clip has {longest} frames, expected more than '
                f'offset={offset}; no frame could ever be drawn'
            )

    # ---------------------------------------------------------------------------------- draw

    def draw(self, epoch: int) -> np.ndarray:
        """All frames of an epoch over all ranks, (E, ) rows of the dataset; the same everywhere."""
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw(epoch)
        return self._drawn[1]

    def _draw(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        if self.offset == 'clip':
            offset = rng.integers(self.stride, size=len(self._starts))
        elif self.offset == 'epoch':
            offset = rng.integers(self.stride)
        else:
            offset = self.offset
        # Frames offset, offset + stride, ... of each clip, of all clips in one go.
        count = np.maximum(0, -((offset - self._lengths) // self.stride))
        before = np.cumsum(count) - count
        first = self._starts + offset - self.stride * before
        drawn = np.repeat(first, count) + self.stride * np.arange(count.sum())
        if self._row is not None:
            drawn = self._row[drawn]
        if self.oversample_thr:
            drawn = np.repeat(drawn, repeat_factors(self._label[drawn], self.oversample_thr))
        return rng.permutation(drawn) if self.shuffle else drawn

    # ------------------------------------------------------------------------------ iteration

    def __iter__(self) -> Iterator[int]:
        if self.infinite:
            return self._endless(self._skipped)
        drawn = self.draw(self.epoch)
        if self.round_up and len(drawn):
            drawn = np.resize(drawn, len(self) * self.world_size)  # goes on from the front
        return iter(drawn[self.rank :: self.world_size][self._skipped :].tolist())

    def _endless(self, skipped: int) -> Iterator[int]:
        """This rank's share of all epochs in one row, every ``world_size``-th frame of it."""
        ahead = self.rank + skipped * self.world_size
        for epoch in itertools.count(self.epoch):
            drawn = self.draw(epoch)
            if len(self._passed) == epoch - self.epoch:
                self._passed.append(len(drawn) + (self._passed[-1] if self._passed else 0))
            yield from drawn[ahead :: self.world_size].tolist()
            passed = range(ahead, len(drawn), self.world_size)
            ahead += len(passed) * self.world_size - len(drawn)

    def keys(self, first: int, number: int) -> np.ndarray:
        """Keys of random numbers for some of this rank's frames, (number, ) uint64.

        A key depends on seed, epoch and the frame's place in the epoch's draw: the same frame of
        the same epoch has the same key on any number of workers and ranks, and a frame that is
        repeated to balance classes has another one each time.

        Args:
            first (int): How many frames this rank has passed: since the first epoch where
                ``infinite``, else since the beginning of this one.
            number (int): Of frames that follow, all of them drawn already.
        """
        place = self.rank + (first + np.arange(number)) * self.world_size
        if not self.infinite:
            return random_keys(self.seed, self.epoch, place % max(1, len(self.draw(self.epoch))))
        passed = np.append(0, self._passed)
        epoch = np.searchsorted(passed, place, side='right') - 1
        return random_keys(self.seed, self.epoch + epoch, place - passed[epoch])

    def __len__(self) -> int:
        """Frames of this rank in the epoch (in its first epoch, where ``infinite``)."""
        total = len(self.draw(self.epoch))
        if self.round_up:
            return -(-total // self.world_size)
        return len(range(self.rank, total, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws; mmengine's ``DistSamplerSeedHook``.

        An ``infinite`` sampler counts its epochs itself and goes on where it is.
        """
        if not self.infinite and epoch != self.epoch:
            self.epoch = epoch
            self._skipped = 0

    def reseed(self, seed: int) -> None:
        """Draw by another seed from now on, as a resumed run must, before anything is drawn."""
        self.seed = seed
        self._drawn = None
        self._passed.clear()

    def skip(self, num_samples: int) -> None:
        """Leave out the next ``num_samples`` frames of this rank without reading them.

        For resuming: the next iteration starts where a run stopped after that many frames.
        """
        if num_samples < 0:
            raise ValueError(
                f'FrameStrideSampler: skip({num_samples}), expected a number of frames from 0 on'
            )
        self._skipped += num_samples
