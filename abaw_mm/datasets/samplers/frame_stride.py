"""Sample one of every few consecutive frames of each clip."""

import itertools
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.dist import get_dist_info, sync_random_seed
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import Sampler, Subset

from abaw_mm.checks import at_least, between, check_arguments
from abaw_mm.datasets.affwild2 import AffWild2Dataset
from abaw_mm.datasets.samplers.keyed_random import random_keys
from abaw_mm.datasets.unwrap_datasets import unwrap_once
from abaw_mm.errors import InvalidTypeError, InvalidValueError
from abaw_mm.structures import FrameTable, chain_tables
from abaw_mm.structures.tasks import find_task, get_targets

OFFSETS = ('clip', 'epoch')
UNIFORM = 'uniform'  # class_balance


def get_frame_table(dataset: Any) -> FrameTable:
    """Return the frames of a dataset, one row per sample.

    Looks inside mmengine's ``ConcatDataset`` and ``RepeatDataset``, mmpretrain's ``KFoldDataset``
    and torch's ``Subset``. Two datasets of a concatenation, and two repetitions, never share a
    clip.

    Raises:
        TypeError: If the dataset has no frames of clips.
    """
    if isinstance(dataset, AffWild2Dataset):
        dataset.full_init()
        return dataset.frames
    if isinstance(dataset, (ConcatDataset, RepeatDataset, KFoldDataset, Subset)):
        parts = [get_frame_table(part) for part in unwrap_once(dataset)]
        table = chain_tables(parts * getattr(dataset, 'times', 1))
        if isinstance(dataset, Subset):
            return table.take(np.asarray(dataset.indices, dtype=np.int64))
        return table
    raise InvalidTypeError(
        f'FrameStrideSampler: got a {type(dataset).__name__}, expected an AffWild2Dataset, or a '
        'ConcatDataset, RepeatDataset, KFoldDataset or Subset of them; for other datasets inherit '
        '_base_/plain.py and set train_dataloader.sampler=dict(_delete_=True, '
        "type='InfiniteSampler', shuffle=True). Instead of ClassBalancedDataset use class_balance "
        'of this sampler'
    )


def repeat_factors(labels: np.ndarray, oversample_thr: float) -> np.ndarray:
    """Count how often to use each frame, as mmpretrain's ``ClassBalancedDataset`` does.

    A class with the share f of the frames is repeated ``ceil(max(1, sqrt(thr / f)))`` times
    (repeat factor sampling of LVIS, arXiv 1908.03195; the released code uses thr 0.15).

    Args:
        labels (ndarray): (F, ) labels, or (F, K) 0 and 1 for K action units. A frame with several
            units is used as often as that of the rarest.
        oversample_thr (float): Share, 0-1, below which a class counts as rare.

    Returns:
        ndarray: (F, ) int64, how often each frame is used.

    >>> repeat_factors(np.array([0] * 96 + [1] * 4), 0.15)[[0, -1]]
    array([1, 2])
    """
    if not len(labels):
        return np.ones(0, np.int64)
    if labels.ndim == 2:
        factors = repeat_factors_of_shares(labels.mean(axis=0), oversample_thr)
        return np.where(labels == 1, factors, 1).max(axis=1).astype(np.int64)
    share = np.bincount(labels) / len(labels)
    return repeat_factors_of_shares(share, oversample_thr)[labels].astype(np.int64)


def repeat_factors_of_shares(share: np.ndarray, oversample_thr: float) -> np.ndarray:
    """Return how often the frames of each class are used, (C, ), given the shares (C, )."""
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.ceil(np.maximum(1.0, np.sqrt(oversample_thr / share)))


def draw_uniformly(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many frames of each class, together as many as there are, rounded up.

    Frames of frequent classes are left out at random; those of rare classes are repeated, each
    equally often but for one.

    Args:
        labels (ndarray): (F, ) labels.
        rng (Generator): Source of random numbers.

    Returns:
        ndarray: Row numbers of the drawn frames, class after class.

    >>> labels = np.array([0] * 7 + [2])
    >>> labels[draw_uniformly(labels, np.random.default_rng(0))].tolist()
    [0, 0, 0, 0, 2, 2, 2, 2]
    """
    order = np.argsort(labels, kind='stable')
    classes = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    size = -(-len(labels) // len(classes))
    return np.concatenate([np.resize(rng.permutation(rows), size) for rows in classes])


@DATA_SAMPLERS.register_module()
class FrameStrideSampler(Sampler):
    """Draw one of every ``stride`` consecutive frames of each clip, with new offsets each epoch.

    Neighbouring frames are nearly alike, so the paper trains on one in ten and moves the offset
    every epoch (Sec. 4.1, Table 3: macro-F1 34.85 with 1/10, 32.23 with all). *Consecutive* are
    the frames that the dataset keeps, in the order of their numbers: frame p of a clip, p from 0,
    is drawn if ``p % stride`` equals the offset.

    The draw depends only on the seed and the epoch: every rank makes the same one and takes its
    own share, without overlap. The global random state is neither read nor changed.

    Args:
        dataset (Sized): An ``AffWild2Dataset``, or a ``ConcatDataset``, ``RepeatDataset``,
            ``KFoldDataset`` or ``Subset`` of them.
        stride (int): Distance in frames between drawn frames. 1 draws all. Defaults to 10.
        offset (str | int): ``'clip'`` draws one offset per clip and epoch, ``'epoch'`` one per
            epoch for all clips; a number in 0..stride-1 is a fixed offset. Defaults to ``'clip'``.
        shuffle (bool): Whether to shuffle the drawn frames. Defaults to True.
        seed (int, optional): Seed, non-negative. Defaults to a random seed shared by all ranks.
        infinite (bool): Iterate forever, as ``IterBasedTrainLoop`` needs: with a finite sampler it
            sleeps two seconds and restarts its workers after each pass. Ranks shard one infinite
            stream. Defaults to False.
        round_up (bool): Repeat a few frames so that all ranks have the same number. Only used
            without ``infinite``. Defaults to True.
        class_balance (dict | str, optional): ``dict(oversample_thr=0.15)`` repeats drawn frames of
            rare classes, see :func:`repeat_factors`. ``'uniform'`` draws as many frames of each
            class, from those of the stride, see :func:`draw_uniformly`. Action units have the first
            only; valence and arousal, and several targets, have neither. Defaults to None.

    Raises:
        ValueError: If an argument is out of range, or no frame can ever be drawn.
        TypeError: If the dataset has no clips.
    """

    @check_arguments('train_dataloader.sampler', stride=between(1, 2**31), seed=at_least(0))
    def __init__(
        self,
        dataset: Sized,
        *,
        stride: int = 10,
        offset: str | int = 'clip',
        shuffle: bool = True,
        seed: int | None = None,
        infinite: bool = False,
        round_up: bool = True,
        class_balance: dict | str | None = None,
    ) -> None:
        _check_arguments(stride, offset, class_balance)
        self.dataset = dataset
        self.rank, self.world_size = get_dist_info()
        self.stride = stride
        self.offset = offset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.infinite = infinite
        self.round_up = round_up
        self.class_balance = class_balance
        self.epoch = 0
        self._skipped = 0
        self._passed: list[int] = []  # frames up to the end of each epoch, if infinite
        self._drawn: tuple[int, int, np.ndarray] | None = None  # seed, epoch, rows

        frames = get_frame_table(dataset)
        self._label = _get_labels(frames, class_balance) if class_balance else None
        # The rows of a fold or a subset may have any order; the draw is by clip and number.
        self._order = None if frames.is_sorted() else frames.argsort()
        counts = frames.count_by_clip()
        self._lengths = counts[counts > 0]
        self._starts = np.cumsum(self._lengths) - self._lengths
        _check_longest_clip(int(self._lengths.max(initial=0)), offset)

    # ---------------------------------------------------------------------------------- draw

    def draw(self, epoch: int) -> np.ndarray:
        """Return all frames of an epoch, (E, ) rows of the dataset; the same on every rank."""
        if self._drawn is None or self._drawn[:2] != (self.seed, epoch):
            self._drawn = self.seed, epoch, self._draw(epoch)
        return self._drawn[2]

    def _draw(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        offset: Any = self.offset
        if self.offset == 'clip':
            offset = rng.integers(self.stride, size=len(self._starts))
        elif self.offset == 'epoch':
            offset = rng.integers(self.stride)
        # Frames offset, offset + stride, ... of each clip, for all clips at once.
        count = np.maximum(0, -((offset - self._lengths) // self.stride))
        before = np.cumsum(count) - count
        first = self._starts + offset - self.stride * before
        drawn = np.repeat(first, count) + self.stride * np.arange(count.sum())
        if self._order is not None:
            drawn = self._order[drawn]
        if self._label is not None and isinstance(self.class_balance, Mapping):
            thr = self.class_balance['oversample_thr']
            drawn = np.repeat(drawn, repeat_factors(self._label[drawn], thr))
        elif self._label is not None and len(drawn):
            drawn = drawn[draw_uniformly(self._label[drawn], rng)]
        return rng.permutation(drawn) if self.shuffle else drawn

    # ------------------------------------------------------------------------------ iteration

    def __iter__(self) -> Iterator[int]:
        if self.infinite:
            return self._iterate_forever(self._skipped)
        drawn = self.draw(self.epoch)
        if self.round_up and len(drawn):
            drawn = np.resize(drawn, len(self) * self.world_size)  # repeats from the start
        return iter(drawn[self.rank :: self.world_size][self._skipped :].tolist())

    def _iterate_forever(self, skipped: int) -> Iterator[int]:
        """Yield every ``world_size``-th frame of all epochs in one stream."""
        ahead = self.rank + skipped * self.world_size
        for epoch in itertools.count(self.epoch):
            drawn = self.draw(epoch)
            if len(self._passed) == epoch - self.epoch:
                self._passed.append(len(drawn) + (self._passed[-1] if self._passed else 0))
            yield from drawn[ahead :: self.world_size].tolist()
            passed = range(ahead, len(drawn), self.world_size)
            ahead += len(passed) * self.world_size - len(drawn)

    def keys(self, first: int, number: int) -> np.ndarray:
        """Return keys for the random numbers of some of this rank's frames, (number, ) uint64.

        A key depends on the seed, the epoch and the position in the epoch's draw: a frame has the
        same key on any number of workers and ranks. A frame that is repeated to balance classes
        has another key each time.

        Args:
            first (int): Number of frames that this rank has passed: since the first epoch if
                ``infinite``, else since the start of this one.
            number (int): Number of frames that follow. All must have been drawn already.
        """
        place = self.rank + (first + np.arange(number)) * self.world_size
        if not self.infinite:
            return random_keys(self.seed, self.epoch, place % max(1, len(self.draw(self.epoch))))
        passed = np.append(0, self._passed)
        epoch = np.searchsorted(passed, place, side='right') - 1
        return random_keys(self.seed, self.epoch + epoch, place - passed[epoch])

    def __len__(self) -> int:
        """Number of frames of this rank in the epoch (in its first epoch, if ``infinite``)."""
        total = len(self.draw(self.epoch))
        if self.round_up:
            return -(-total // self.world_size)
        return len(range(self.rank, total, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration draws, as ``DistSamplerSeedHook`` does.

        An ``infinite`` sampler counts its epochs itself and ignores this.
        """
        if not self.infinite and epoch != self.epoch:
            self.epoch = epoch
            self._skipped = 0

    def skip(self, num_samples: int) -> None:
        """Skip the next ``num_samples`` frames of this rank without reading them.

        A resumed run continues after the frames that it has already seen.

        Raises:
            ValueError: If ``num_samples`` is negative.
        """
        if num_samples < 0:
            raise ValueError(
                f'FrameStrideSampler: skip({num_samples}), expected a number of frames from 0'
            )
        self._skipped += num_samples


def _check_arguments(stride: int, offset: str | int, class_balance: dict | str | None) -> None:
    """Raise ValueError if ``offset`` or ``class_balance`` is out of range."""
    if offset not in OFFSETS and not (isinstance(offset, int) and 0 <= offset < stride):
        raise InvalidValueError(
            f"FrameStrideSampler: offset={offset!r}, expected 'clip', 'epoch' or a number in "
            f'0..{stride - 1}; set train_dataloader.sampler.offset'
        )
    if class_balance not in (None, UNIFORM) and (
        not isinstance(class_balance, dict)
        or set(class_balance) != {'oversample_thr'}
        or not isinstance(class_balance['oversample_thr'], (int, float))
        or not 0 < class_balance['oversample_thr'] <= 1
    ):
        raise InvalidValueError(
            f'FrameStrideSampler: class_balance={class_balance}, expected '
            "dict(oversample_thr=t) with 0 < t <= 1, or 'uniform'; set "
            'train_dataloader.sampler.class_balance'
        )


def _get_labels(frames: FrameTable, class_balance: dict | str) -> np.ndarray:
    """Return the labels for ``class_balance``, (F, ), or action units, (F, K).

    Raises:
        ValueError: If they are hidden, or the track has no classes that could be balanced.
    """
    task = find_task(list(frames.columns))
    if task not in ('expr', 'au') or (task == 'au' and class_balance == UNIFORM):
        raise InvalidValueError(
            f'FrameStrideSampler: class_balance={class_balance} has no meaning for the '
            f'{task.upper()} track, expected None'
            f'{" or dict(oversample_thr=t)" if task == "au" else ""}; set '
            'train_dataloader.sampler.class_balance'
        )
    label = frames[get_targets(task)[0].column]
    if np.any(label < 0):
        raise InvalidValueError(
            'FrameStrideSampler: class_balance needs labels, got a set whose labels are hidden; '
            'remove class_balance for a list of test frames'
        )
    return label


def _check_longest_clip(longest: int, offset: str | int) -> None:
    """Raise ValueError if a fixed offset is beyond every clip, or there is no frame."""
    if longest <= (offset if isinstance(offset, int) else 0):
        raise InvalidValueError(
            f'FrameStrideSampler: the longest clip has {longest} frames, expected more than '
            f'offset={offset}; no frame could ever be drawn: set train_dataloader.sampler.offset'
        )
