"""From predictions to better ones, without the network: average, adjust, smooth, hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from abaw_mm.datasets.annotations import UNLABELLED
from abaw_mm.errors import shorten
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.smoothing import (
    METHODS,
    hold_labels,
    smooth_scores,
)


@dataclass(frozen=True)
class Postprocess:
    """What to do with predictions, in this order.

    Args:
        prior (tuple[float], optional): (C, ) share of each class among the frames that the model
            was trained on.
        tau (float): Exponent of logit adjustment (Menon et al., arXiv 2007.07314): probabilities
            are divided by ``prior ** tau`` and brought to sum 1 again, which favours rare classes,
            as macro-F1 does. 0 changes nothing, 1 takes the prior out as a whole.
        method (str): Smoothing of the probabilities, see :func:`smooth_scores`.
        width (int): Its width in frames; 0 leaves it out.
        hold (int): Frames that a class has to last, see :func:`hold_labels`; 0 leaves it out.

    Raises:
        ValueError: For values out of range, or ``tau`` without ``prior``.
    """

    prior: tuple[float, ...] | None = None
    tau: float = 0.0
    method: str = 'box'
    width: int = 0
    hold: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f'--method: got {self.method!r}, expected one of {", ".join(METHODS)}')
        if self.width < 0 or self.hold < 0:
            raise ValueError(
                f'--width {self.width}, --hold {self.hold}: expected numbers of frames from 0 on'
            )
        if self.tau and self.prior is None:
            raise ValueError(
                f'--tau: got {self.tau} without a prior, expected the annotations of the training '
                'set as well; give --prior-from DIR'
            )
        if self.prior is not None and min(self.prior) <= 0:
            raise ValueError(
                f'--prior-from: got the shares {list(self.prior)}, expected each class among the '
                'training labels'
            )

    def __call__(self, predictions: Predictions) -> Predictions:
        """Predictions of the same frames."""
        score = predictions.pred_score
        if self.tau:
            score = adjust_prior(score, np.array(self.prior), self.tau)
        if self.width:
            score = along_clips(
                predictions, score, lambda n, x: smooth_scores(n, x, self.method, self.width)
            )
        label = predictions.pred_label
        if self.tau or self.width:
            label = score.argmax(axis=1).astype(np.int32)
        if self.hold:
            label = along_clips(predictions, label, lambda n, x: hold_labels(n, x, self.hold))
        return replace(predictions, pred_score=score, pred_label=label)


def along_clips(
    predictions: Predictions,
    column: np.ndarray,
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Apply a function of frame numbers and values to each clip of a column."""
    ends = np.flatnonzero(np.diff(predictions.clip_id)) + 1
    if not len(column):
        return column
    return np.concatenate(
        [
            function(number, values)
            for number, values in zip(
                np.split(predictions.frame_no, ends), np.split(column, ends), strict=True
            )
        ]
    )


def adjust_prior(score: np.ndarray, prior: np.ndarray, tau: float) -> np.ndarray:
    """Divide probabilities (F, C) by the classes' shares (C, ), to the power of tau.

    >>> adjust_prior(np.array([[.6, .4]]), np.array([.6, .4]), 1)
    array([[0.5, 0.5]], dtype=float32)
    """
    adjusted = score / prior**tau
    return (adjusted / adjusted.sum(axis=1, keepdims=True)).astype(np.float32)


def expect_same_labels(parts: Sequence[Predictions], names: Sequence[str]) -> None:
    """Refuse predictions that are not of the same classes, frames and labels.

    Args:
        parts: At least one.
        names: Of their files, for messages.

    Raises:
        ValueError: With what differs from the first.
    """
    first = parts[0]
    for part, name in zip(parts[1:], names[1:], strict=True):
        part.expect_classes(first.classes, name)
        _expect_same_frames(first, part, names[0], name)
        differs = np.flatnonzero(first.gt_label != part.gt_label)
        if len(differs):
            row = differs[0]
            raise ValueError(
                f'{name}: got the label {part.gt_label[row]} for frame {first.frame_no[row]} of '
                f'{first.clips[first.clip_id[row]]!r}, and {first.gt_label[row]} in {names[0]} '
                f'({len(differs)} such frames), expected the same; test on the same annotations'
            )


def average(parts: Sequence[Predictions], names: Sequence[str]) -> Predictions:
    """The mean probabilities of several models on the same frames.

    Args:
        parts: At least one.
        names: Of their files, for messages.

    Raises:
        ValueError: If classes, frames or labels are not the same, with what differs.
    """
    expect_same_labels(parts, names)
    first = parts[0]
    if len(parts) == 1:
        return first
    score = np.mean([part.pred_score for part in parts], axis=0, dtype=np.float64)
    return replace(
        first,
        pred_score=score.astype(np.float32),
        pred_label=score.argmax(axis=1).astype(np.int32),
        sha256='+'.join(part.sha256 for part in parts),
        config='+'.join(part.config for part in parts),
    )


def _expect_same_frames(first: Predictions, part: Predictions, one: str, other: str) -> None:
    frames = [set(zip(p.clip.tolist(), p.frame_no.tolist(), strict=True)) for p in (first, part)]
    for theirs, ours, name in ((*frames, other), (*frames[::-1], one)):
        missing = sorted(theirs - ours)
        if missing:
            raise ValueError(
                f'{name}: lacks {len(missing)} frames that the other file has, such as '
                f'{shorten([f"{clip}/{number}" for clip, number in missing])}, expected the same '
                f'frames in {one} and {other}; test on the same set'
            )


def class_shares(labels: dict[str, np.ndarray], num_classes: int) -> tuple[float, ...]:
    """Share of each class among labels; clip to (L, ), -1 where not annotated."""
    label = np.concatenate(list(labels.values()))
    counts = np.bincount(label[label != UNLABELLED], minlength=num_classes)
    return tuple((counts / max(1, counts.sum())).tolist())
