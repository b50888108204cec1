"""What all metrics here share: every frame counts once, on any number of processes."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from abaw_mm.datasets.annotations import (
    EXPRESSIONS,
    UNLABELLED,
)
from abaw_mm.structures import is_frame_batch


@dataclass
class FrameResults:
    """Results of frames as columns, sorted by clip and frame number, each frame once.

    Attributes:
        clips (list[str]): Names of the clips, sorted. Frames of other datasets have their image
            path here.
        clip_id (ndarray): (F, ) int32, row of ``clips``.
        frame_no (ndarray): (F, ) int32, or 0 for frames of other datasets.
        gt_label (ndarray): (F, ) int32, -1 where hidden.
        pred_label (ndarray): (F, ) int32.
        pred_score (ndarray): (F, C) float32, the softmax; (F, 0) where nobody needs it.
    """

    clips: list[str]
    clip_id: np.ndarray
    frame_no: np.ndarray
    gt_label: np.ndarray
    pred_label: np.ndarray
    pred_score: np.ndarray

    def __len__(self) -> int:
        return len(self.frame_no)

    @property
    def clip(self) -> np.ndarray:
        """(F, ) str, the clip's name of each frame."""
        return np.array(self.clips, dtype=str)[self.clip_id]

    def take(self, rows: np.ndarray) -> 'FrameResults':
        """The given rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})


COLUMNS = [name for name in FrameResults.__dataclass_fields__ if name != 'clips']


def merge_frames(parts: Sequence[FrameResults]) -> FrameResults:
    """Put parts together, such as the results of all processes, each frame once.

    Samplers pad the last batch with frames that another process has, too; counted twice they
    would change the score with the number of processes.

    Args:
        parts: At least one; their names of clips may have any order.

    Raises:
        ValueError: If a frame comes twice with two labels, as from two datasets whose clips have
            the same names.
    """
    parts = [part for part in parts if len(part)] or list(parts[:1])
    clips = sorted(set().union(*(part.clips for part in parts)))
    row_of = {clip: row for row, clip in enumerate(clips)}
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    columns['clip_id'] = np.concatenate(
        [np.array([row_of[clip] for clip in part.clips], np.int32)[part.clip_id] for part in parts]
    )
    merged = FrameResults(clips, **columns)
    key = merged.clip_id.astype(np.int64) << 32 | merged.frame_no
    if np.all(key[1:] > key[:-1]):
        return merged
    order = np.argsort(key, kind='stable')
    key, gt_label = key[order], merged.gt_label[order]
    again = np.append(False, key[1:] == key[:-1])
    differs = np.flatnonzero(again[1:] & (gt_label[1:] != gt_label[:-1]))
    if len(differs):
        row = differs[0]
        first = order[row]
        raise ValueError(
            f'frame {merged.frame_no[first]} of clip {clips[merged.clip_id[first]]!r} was scored '
            f'with the labels {gt_label[row]} and {gt_label[row + 1]}, expected one label a '
            'frame; two datasets of the set have clips of the same name, score them apart'
        )
    return merged.take(order[~again])


class FrameMetric(BaseMetric):
    """A metric over frames. Subclasses write ``compute_metrics(results: FrameResults)``.

    The data samples need ``clip`` and ``frame_no``, or at least ``img_path``, to tell frames
    apart: list them in ``meta_keys`` of ``PackInputs``. What all processes saw is gathered, each
    frame counts once, and every process computes the same figures. What is kept of a batch is a
    few arrays, not an object per frame.
    """

    keeps_scores = True  # False where a subclass needs no pred_score: 12 bytes a frame stay

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep a batch of results.

        Args:
            data_batch: Not used.
            data_samples: A dict a frame, or one with the arrays of a ``FrameBatch``.

        Raises:
            KeyError: If a data sample does not say which frame it is.
            ValueError: If the scores of a frame are not finite.
        """
        if not data_samples:
            return
        if is_frame_batch(data_samples[0]):
            parts = [self._of_batch(batch) for batch in data_samples]
        else:
            parts = [self._of_frames(data_samples)]
        for part in parts:
            self._check_finite(part)
            if not self.keeps_scores:
                part.pred_score = np.empty((len(part), 0), np.float32)
        self.results += parts

    @staticmethod
    def _of_batch(batch: dict) -> FrameResults:
        hidden = torch.full_like(batch['frame_no'], UNLABELLED)
        columns = dict(batch, gt_label=batch.get('gt_label', hidden))
        return FrameResults(
            batch['clips'],
            **{name: columns[name].cpu().numpy().astype(np.int32) for name in COLUMNS[:-1]},
            pred_score=batch['pred_score'].float().cpu().numpy(),
        )

    def _of_frames(self, samples: Sequence[dict]) -> FrameResults:
        clip, frame_no = zip(*map(self._frame_of, samples), strict=True)
        row_of = {name: row for row, name in enumerate(dict.fromkeys(clip))}
        return FrameResults(
            list(row_of),
            clip_id=np.array([row_of[name] for name in clip], np.int32),
            frame_no=np.array(frame_no, np.int32),
            gt_label=_labels(samples, 'gt_label'),
            pred_label=_labels(samples, 'pred_label'),
            pred_score=torch.stack([s['pred_score'] for s in samples]).float().cpu().numpy(),
        )

    def _check_finite(self, part: FrameResults) -> None:
        finite = np.isfinite(part.pred_score)
        if not finite.all():
            row = int(finite.all(axis=1).argmin())
            raise ValueError(
                f'{type(self).__name__}: got the scores {part.pred_score[row].tolist()} for frame '
                f'{part.frame_no[row]} of {part.clips[part.clip_id[row]]!r}, expected finite '
                'numbers; the training diverged: lower the learning rate or turn AMP off, and '
                'test an earlier checkpoint'
            )

    def _frame_of(self, sample: dict) -> tuple[str, int]:
        if 'clip' in sample and 'frame_no' in sample:
            return sample['clip'], sample['frame_no']
        if 'img_path' in sample:
            return sample['img_path'], 0
        raise KeyError(
            f'{type(self).__name__}: got a data sample with {sorted(sample)}, expected clip and '
            "frame_no; set meta_keys=('sample_idx', 'img_path', 'clip', 'frame_no') of PackInputs "
            'in the pipeline'
        )

    def class_names(self, num_classes: int) -> tuple[str, ...]:
        """The dataset's names, or the official ones, or numbers if these are too few."""
        names = (self.dataset_meta or {}).get('classes', EXPRESSIONS)
        if len(names) < num_classes:
            return tuple(map(str, range(num_classes)))
        return tuple(names[:num_classes])

    def evaluate(self, size: int) -> dict:
        """Gather the frames of all processes and compute the metrics.

        Args:
            size (int): Frames of the dataset; fewer results are reported by a warning.
        """
        nothing = FrameResults([], *np.empty((4, 0), np.int32), np.empty((0, 0), np.float32))
        own = merge_frames(self.results or [nothing])
        self.results.clear()
        merged = merge_frames(all_gather_object(own))
        if len(merged) < size:
            print_log(
                f'{type(self).__name__}: {len(merged)} of the {size} frames of the set were '
                'scored; the figures are of these only. (Frames of the same clip and number count '
                'once: do two datasets have clips of the same name?)',
                logger='current',
                level=logging.WARNING,
            )
        metrics = self.compute_metrics(merged)
        if self.prefix:
            metrics = {f'{self.prefix}/{key}': value for key, value in metrics.items()}
        return metrics

    @abstractmethod
    def compute_metrics(self, results: FrameResults) -> dict:
        """Compute the metrics of all frames."""


def _labels(samples: Sequence[dict], name: str) -> np.ndarray:
    """(N, ) int32 of a batch; its tensors travel from the device in one go."""
    labels = [sample[name] for sample in samples if name in sample]
    if len(labels) < len(samples):
        labels = [sample.get(name, torch.tensor([UNLABELLED])) for sample in samples]
    join = torch.cat if labels[0].dim() else torch.stack
    return join(labels).cpu().numpy().astype(np.int32)
