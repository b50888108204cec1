"""What all metrics here share: every frame counts once, on any number of processes."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

HIDDEN = -1  # gt_label of a frame whose label nobody gave us


@dataclass
class FrameResults:
    """Results of frames as columns, sorted by clip and frame number, each frame once.

    Attributes:
        clip (ndarray): (F, ) str. Frames of other datasets have their image path here.
        frame_no (ndarray): (F, ) int64, or 0 for frames of other datasets.
        gt_label (ndarray): (F, ) int64, -1 where hidden.
        pred_label (ndarray): (F, ) int64.
        pred_score (ndarray): (F, C) float32, the softmax.
    """

    clip: np.ndarray
    frame_no: np.ndarray
    gt_label: np.ndarray
    pred_label: np.ndarray
    pred_score: np.ndarray

    def __len__(self) -> int:
        return len(self.frame_no)


def merge_frames(parts: Sequence[FrameResults]) -> FrameResults:
    """Put the results of all processes together, each frame once.

    Samplers pad the last batch with frames that another process has, too; counted twice they
    would change the score with the number of processes.

    Raises:
        ValueError: If a frame comes twice with two labels, as from two datasets whose clips have
            the same names.
    """
    parts = [part for part in parts if len(part)] or list(parts[:1])
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in FrameResults.__dataclass_fields__
    }
    order = np.lexsort((columns['frame_no'], columns['clip']))
    clip, frame_no, gt_label = (
        columns[name][order] for name in ('clip', 'frame_no', 'gt_label')
    )
    again = np.zeros(len(order), bool)
    again[1:] = (clip[1:] == clip[:-1]) & (frame_no[1:] == frame_no[:-1])
    differs = np.flatnonzero(again[1:] & (gt_label[1:] != gt_label[:-1]))
    if len(differs):
        row = differs[0]
        raise ValueError(
            f'frame {frame_no[row]} of clip {str(clip[row])!r} was scored with the labels '
            f'{gt_label[row]} and {gt_label[row + 1]}, expected one label a frame; two datasets '
            'of the set have clips of the same name, score them apart'
        )
    return FrameResults(**{name: column[order][~again] for name, column in columns.items()})


class FrameMetric(BaseMetric):
    """A metric over frames. Subclasses write ``compute_metrics(results: FrameResults)``.

    The data samples need ``clip`` and ``frame_no``, or at least ``img_path``, to tell frames
    apart: list them in ``meta_keys`` of ``PackInputs``. What all processes saw is gathered, each
    frame counts once, and every process computes the same figures.
    """

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep a batch of results.

        Raises:
            KeyError: If a data sample does not say which frame it is.
            ValueError: If the scores of a frame are not finite.
        """
        for sample in data_samples:
            if 'clip' in sample and 'frame_no' in sample:
                frame = sample['clip'], int(sample['frame_no'])
            elif 'img_path' in sample:
                frame = sample['img_path'], 0
            else:
                raise KeyError(
                    f'{type(self).__name__}: got a data sample with {sorted(sample)}, expected '
                    "clip and frame_no; set meta_keys=('sample_idx', 'img_path', 'clip', "
                    "'frame_no') of PackInputs in the pipeline"
                )
            score = sample['pred_score'].float().cpu().numpy()
            if not np.isfinite(score).all():
                raise ValueError(
                    f'{type(self).__name__}: got the scores {score.tolist()} for frame {frame}, '
                    'expected finite numbers; the training diverged: lower the learning rate or '
                    'turn AMP off, and test an earlier checkpoint'
                )
            gt_label = int(sample['gt_label']) if 'gt_label' in sample else HIDDEN
            self.results.append((*frame, gt_label, int(sample['pred_label']), score))

    def evaluate(self, size: int) -> dict:
        """Gather the frames of all processes and compute the metrics.

        Args:
            size (int): Frames of the dataset; fewer results are reported by a warning.
        """
        merged = merge_frames(all_gather_object(self._columns()))
        self.results.clear()
        if len(merged) < size:
            print_log(
                f'{type(self).__name__}: {len(merged)} of the {size} frames of the set were '
                'scored; the figures are of these only.',
                logger='current', level=logging.WARNING
            )
        metrics = self.compute_metrics(merged)
        if self.prefix:
            metrics = {f'{self.prefix}/{key}': value for key, value in metrics.items()}
        return metrics

    def _columns(self) -> FrameResults:
        """Results of this process as columns; arrays travel faster than objects."""
        clip, frame_no, gt_label, pred_label, score = (
            zip(*self.results, strict=True) if self.results else ([], ) * 5
        )
        return FrameResults(
            np.array(clip, dtype=str), np.array(frame_no, np.int64), np.array(gt_label, np.int64),
            np.array(pred_label, np.int64),
            np.array(score, np.float32).reshape(len(score), -1 if score else 0)
        )

    @abstractmethod
    def compute_metrics(self, results: FrameResults) -> dict:
        """Compute the metrics of all frames."""
