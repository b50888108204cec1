"""Base class of metrics over frames."""

import logging
import os
from abc import abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from abaw_mm.errors import InvalidValueError
from abaw_mm.structures.frame_batch import is_frame_batch
from abaw_mm.structures.frame_table import FrameTable, average_rows, merge_tables, to_int32
from abaw_mm.structures.tasks import EXPRESSIONS, UNLABELLED, Target

SAMPLE = 'sample'  # clip name of samples that only have a number
WINDOW = 'window'  # column of results of windows of features, which may overlap


class FrameMetric(BaseMetric):
    """Gather results of frames from all processes and count each frame once.

    Subclasses implement ``compute_metrics(frames)``, which gets one :class:`FrameTable`, sorted by
    clip name and frame number. Every process computes the same metrics. A batch is kept as a few
    arrays, not as an object per frame.

    Data samples need ``clip`` and ``frame_no`` to identify frames: list them in ``meta_keys`` of
    ``PackInputs``. Samples of other datasets are identified by ``img_path``: the clip is named
    after the file, with a hash of its path, and the frame number is 0. Without it, ``sample_idx``
    is the frame number in a clip ``sample``.

    Windows of features may overlap. The scores of a frame are then averaged over its windows, each
    of which counts once, with the same result on any number of processes.

    The multi-task annotations list some images several times. If the dataset's ``task`` is
    ``'mtl'``, every row of the annotations counts once; ``sample_idx`` identifies it.

    Attributes:
        targets (dict): Target columns and the value that marks a hidden target in each. A value of
            shape (K,) belongs to a column (F, K). Copies of a frame must have the same targets.
        outputs (tuple[str]): Columns that the model predicts. ``pred_score`` (F, C) adds the column
            ``pred_label``, the class with the highest score. The ``pred_label`` of data samples is
            not read, because test-time augmentation may change only the scores.
        numbers (tuple[str]): Further integers of the data samples to keep, -1 where absent.
        unused (tuple[str]): Outputs that are checked for NaN and then dropped, to save memory.
    """

    targets: dict[str, Any] = {'gt_label': UNLABELLED}
    outputs: tuple[str, ...] = ('pred_score',)
    numbers: ClassVar[tuple[str, ...]] = ()
    unused: ClassVar[tuple[str, ...]] = ()

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Store the results of a batch.

        Args:
            data_batch: Not used.
            data_samples: One dict per frame, or one dict with the arrays of a ``FrameBatch``.

        Raises:
            ValueError: If a data sample does not identify its frame, or an output is not finite.
        """
        if not data_samples:
            return
        if is_frame_batch(data_samples[0]):
            tables = [self._tabulate_batch(batch) for batch in data_samples]
        else:
            tables = [self._tabulate_samples(data_samples)]
        for table in tables:
            self._check_finite(table)
            if WINDOW not in table.columns:
                self._finish(table)
        self.results += tables

    def evaluate(self, size: int) -> dict:
        """Gather the frames of all processes and compute the metrics.

        Args:
            size (int): Number of frames in the dataset. Logs a warning if fewer were scored.

        Raises:
            ValueError: If no frame was scored, a frame has two different targets, or ``sample_idx``
                does not identify the samples.
        """
        empty = FrameTable([], np.empty(0, np.int32), np.empty(0, np.int32))
        own = self._merge(self.results or [empty])
        self.results.clear()
        frames = self._merge(all_gather_object(own))
        if WINDOW in frames.columns:
            del frames.columns[WINDOW]
            frames = average_rows(
                frames, [name for name in frames.columns if name.startswith('pred_')]
            )
            self._finish(frames)
        self._check_size(frames, size)
        metrics = self.compute_metrics(frames)
        if self.prefix:
            metrics = {f'{self.prefix}/{key}': value for key, value in metrics.items()}
        return metrics

    @abstractmethod
    def compute_metrics(self, frames: FrameTable) -> dict:
        """Compute the metrics of all frames.

        Args:
            frames (FrameTable): Each frame once, with the columns ``targets`` and ``outputs``.
        """

    def _merge(self, parts: Sequence[FrameTable]) -> FrameTable:
        """Merge tables; of windows, each frame of each window is kept once."""
        apart = 'sample_idx' if self.repeats_frames else None
        if any(WINDOW in part.columns for part in parts):
            apart = WINDOW
        # A process without a frame may not know the columns that others have.
        names = {name for part in parts for name in part.columns}
        return merge_tables(parts, [name for name in self.targets if name in names], apart)

    def _finish(self, table: FrameTable) -> None:
        """Add the predicted classes and drop unused columns."""
        if 'pred_score' in table.columns:
            label = table['pred_score'].argmax(axis=1)
            table.columns['pred_label'] = label.astype(np.int32)
        for name in self.unused:
            del table.columns[name]

    @property
    def repeats_frames(self) -> bool:
        """Whether the dataset annotates some frames several times, as the multi-task sets do."""
        return (self.dataset_meta or {}).get('task') == 'mtl'

    @property
    def _integers(self) -> tuple[str, ...]:
        """Names of the integers to keep."""
        row = ('sample_idx',) if self.repeats_frames else ()
        return tuple(dict.fromkeys((*self.numbers, *row)))

    def select_annotated(self, frames: FrameTable, target: Target) -> FrameTable | None:
        """Return the frames that are annotated, None with a warning if all are hidden.

        Args:
            frames (FrameTable): Frames with the column ``target.ground_truth``.
            target (Target): What is annotated.

        Raises:
            ValueError: If only some frames are annotated, unless the dataset's ``task`` is
                ``'mtl'``, whose rows lack single parts.
        """
        known = target.is_annotated(frames[target.ground_truth])
        name = type(self).__name__
        if known.all():
            return frames
        if not known.any():
            print_log(
                f'{name}: the {target.ground_truth} of all {len(frames)} frames are hidden, so '
                'there is no score. To keep the predictions, use `--out predictions.npz` of '
                'tools/test.py.',
                logger='current',
                level=logging.WARNING,
            )
            return None
        if not self.repeats_frames:
            raise InvalidValueError(
                f'{name}: got no {target.ground_truth} for {np.count_nonzero(~known)} of '
                f'{len(frames)} frames, expected annotations for all or none; score annotated '
                "sets and the challenge's list separately"
            )
        return frames.take(known)

    def class_names(self, num_classes: int) -> tuple[str, ...]:
        """Return the dataset's class names, or numbers if there are too few names."""
        names = (self.dataset_meta or {}).get('classes', EXPRESSIONS)
        if len(names) < num_classes:
            return tuple(map(str, range(num_classes)))
        return tuple(names[:num_classes])

    def _tabulate_batch(self, batch: dict) -> FrameTable:
        """Make a table of the arrays of a ``FrameBatch``."""
        columns = {name: _to_numpy(batch[name], name) for name in self.outputs}
        size = len(batch['frame_no'])
        for name in self._integers:
            columns[name] = _to_numpy(batch.get(name, _repeat(-1, size)), name)
        for name, hidden in self.targets.items():
            column = batch[name] if name in batch else _repeat(hidden, size)
            columns[name] = _to_numpy(column, name)
        if 'place' in batch:  # windows of features, numbered by sample_idx
            columns[WINDOW] = _to_numpy(batch['sample_idx'], 'sample_idx')
        clip_id, frame_no = (_to_numpy(batch[name], name) for name in ('clip_id', 'frame_no'))
        return FrameTable(list(batch['clips']), clip_id, frame_no, columns)

    def _tabulate_samples(self, samples: Sequence[dict]) -> FrameTable:
        """Make a table of one dict per frame."""
        clip, frame_no = zip(*map(self._identify, samples), strict=True)
        columns = {name: _stack([s[name] for s in samples], name) for name in self.outputs}
        for name in self._integers:
            columns[name] = to_int32([sample.get(name, -1) for sample in samples], name)
        for name, hidden in self.targets.items():
            known = [sample[name] for sample in samples if name in sample]
            if not known:
                columns[name] = _to_numpy(_repeat(hidden, len(samples)), name)
                continue
            value = torch.as_tensor(hidden).reshape(known[0].shape).to(torch.as_tensor(known[0]))
            columns[name] = _stack([sample.get(name, value) for sample in samples], name)
        id_of = {name: clip_id for clip_id, name in enumerate(dict.fromkeys(clip))}
        clip_id = np.array([id_of[name] for name in clip], np.int32)
        return FrameTable(list(id_of), clip_id, to_int32(frame_no, 'frame_no'), columns)

    def _identify(self, sample: dict) -> tuple[str, int]:
        """Return the clip name and the frame number of a data sample."""
        if 'clip' in sample and 'frame_no' in sample:
            return sample['clip'], sample['frame_no']
        if 'img_path' in sample:
            return _name_image(sample['img_path']), 0
        if 'sample_idx' in sample:
            return SAMPLE, sample['sample_idx']
        raise InvalidValueError(
            f'{type(self).__name__}: got a data sample with {sorted(sample)}, expected clip and '
            "frame_no, img_path or sample_idx; set meta_keys=('sample_idx', 'img_path', 'clip', "
            "'frame_no') of PackInputs in the pipeline"
        )

    def _check_finite(self, table: FrameTable) -> None:
        for name in self.outputs:
            if table[name].dtype.kind != 'f':
                continue
            finite = np.isfinite(table[name]).reshape(len(table), -1).all(axis=1)
            if not finite.all():
                row = int(finite.argmin())
                raise InvalidValueError(
                    f'{type(self).__name__}: got {name} {table[name][row].tolist()} for '
                    f'{table.describe(row)}, expected finite numbers; the training diverged: lower '
                    'the learning rate or turn AMP off, and test an earlier checkpoint'
                )

    def _check_size(self, frames: FrameTable, size: int) -> None:
        name = type(self).__name__
        if not len(frames):
            raise InvalidValueError(
                f'{name}: got no frame, expected at least one; check the dataset of the evaluation'
            )
        if len(frames) < size and SAMPLE in frames.clips:
            raise InvalidValueError(
                f'{name}: got {len(frames)} different sample_idx for the {size} samples of the '
                'dataset, expected one per sample; each part of a ConcatDataset counts from 0: '
                "score them separately, or add 'img_path' to meta_keys of PackInputs"
            )
        if len(frames) < size:
            print_log(
                f'{name}: only {len(frames)} of the {size} frames of the dataset were scored. '
                'Frames with the same clip name and frame number count once; score datasets that '
                'share clip names separately.',
                logger='current',
                level=logging.WARNING,
            )


def _repeat(value: Any, size: int) -> torch.Tensor:
    """Repeat a value of shape () or (K,) for each frame."""
    tensor = torch.as_tensor(value)
    return tensor.expand(size, *tensor.shape)


def _stack(values: Sequence[torch.Tensor], name: str) -> np.ndarray:
    """Stack the values of frames: (F,) for one number per frame, else (F, K).

    The tensors are stacked before they are copied from the device, so that it takes one copy.
    """
    if values[0].shape == (1,):  # a label in mmpretrain's form
        return _to_numpy(torch.cat(list(values)), name)
    # as_tensor() takes as long as stacking
    tensors = [x if isinstance(x, torch.Tensor) else torch.as_tensor(x) for x in values]
    return _to_numpy(torch.stack(tensors), name)


def _to_numpy(column: torch.Tensor, name: str) -> np.ndarray:
    """Copy a tensor from the device; store float as float32 and int64 as int32."""
    if column.is_floating_point():
        column = column.float()
    array = column.cpu().numpy()
    return to_int32(array, name) if column.dtype == torch.int64 else array


def _name_image(path: str) -> str:
    """Name an image that belongs to no clip. A path itself is no name of a clip."""
    name = quote(os.path.basename(path), safe=' ')[-100:]
    return f'{name} {blake2b(os.fsencode(path), digest_size=8).hexdigest()}'
