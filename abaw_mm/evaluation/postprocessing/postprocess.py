"""Postprocess predictions: prior correction, smoothing, class bias, minimum duration."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from mmengine.logging import print_log

from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.postprocessing.seconds import Seconds, Width
from abaw_mm.evaluation.postprocessing.smoothing import (
    METHODS,
    hold_labels,
    smooth_scores,
    smooth_values,
)
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import add_step
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import ACTION_UNITS, UNLABELLED, Target, get_targets

MAX_BIAS = 20  # of a log probability; a factor of 5e8


@dataclass(frozen=True)
class Postprocess:
    """Correct the prior, smooth probabilities, add a bias to classes, enforce a minimum duration.

    Args:
        prior (tuple[float], optional): (C,) share of each class among the training frames. If the
            training balanced the classes, the shares that it saw are used instead, see
            :class:`ClassBalance`.
        tau (float): Exponent of logit adjustment (Menon et al., arXiv 2007.07314): probabilities
            are divided by ``prior ** tau`` and renormalised. This favours rare classes, as macro-F1
            does. 0 changes nothing, 1 removes the prior completely. Defaults to 0.
        method (str): Smoothing method, see :func:`smooth_scores`. Defaults to ``'box'``.
        width (int | Seconds): Width of the smoothing: ``50`` is 50 frames on each side,
            ``Seconds(1.0)`` a window of one second. Defaults to 0, no smoothing.
        bias (tuple[float], optional): (C,) added to the log probabilities of each class, see
            :func:`add_bias`. Defaults to none.
        hold (int): Minimum duration of a class in frames, see :func:`hold_labels`. Defaults to 0,
            no minimum.
        threshold (tuple[float], optional): Lowest probability of 'present' of action units, one for
            all or one for each. Recorded in the steps only. Defaults to 0.5.

    Smoothing applies to every column of a track. The other steps belong to expressions, or to
    action units.

    Raises:
        ValueError: If a value is out of range, or ``tau`` is given without ``prior``.
    """

    prior: tuple[float, ...] | None = None
    tau: float = 0.0
    method: str = 'box'
    width: Width = 0
    hold: int = 0
    bias: tuple[float, ...] | None = None
    threshold: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidValueError(
                f'--method: got {self.method!r}, expected one of {", ".join(METHODS)}'
            )
        if self.width < 0 or self.hold < 0:
            raise InvalidValueError(
                f'got --width {self.width}, --hold {self.hold}, expected non-negative numbers of '
                'frames, or a width in seconds, such as 1.0s'
            )
        if self.bias is not None and not np.all(np.abs(self.bias) <= MAX_BIAS):
            raise InvalidValueError(
                f'--bias: got {list(self.bias)}, expected numbers in -{MAX_BIAS}..{MAX_BIAS}'
            )
        if self.threshold is not None and not self._has_valid_threshold():
            raise InvalidValueError(
                f'--threshold: got {list(self.threshold)}, expected one number in 0-1, or '
                f'{len(ACTION_UNITS)}: {", ".join(ACTION_UNITS)}'
            )
        if self.tau and self.prior is None:
            raise InvalidValueError(
                f'--tau: got {self.tau} without a prior, expected the annotations of the training '
                'set as well; give --prior-from DIR'
            )
        if self.prior is not None and min(self.prior) <= 0:
            raise InvalidValueError(
                f'--prior-from: got the class shares {list(self.prior)}, expected training labels '
                'of every class'
            )

    def __call__(self, predictions: Predictions) -> Predictions:
        """Return postprocessed predictions of the same frames, which record the steps.

        Raises:
            ValueError: If the predictions have been through one of the steps, or a later one, if
                the width is in seconds and they have no times, or if the bias has not one value
                per class.
        """
        self._check_track(predictions)
        steps = tuple(predictions.steps)
        for step in self.steps:
            steps = add_step(steps, step)
        columns = dict(predictions.columns)
        for target in get_targets(predictions.task):
            if target.is_class:
                columns |= self._process_expressions(predictions)
            elif self.width:
                values = predictions[target.prediction]
                columns[target.prediction] = smooth_column(
                    predictions, values, target, self.method, self.width
                )
        return replace(predictions, columns=columns, steps=steps)

    def _process_expressions(self, predictions: Predictions) -> dict[str, np.ndarray]:
        score, label = predictions['pred_score'], predictions['pred_label']
        if self.tau:
            score = adjust_prior(score, self._seen_prior(predictions), self.tau)
        if self.width:
            score = smooth_clips(predictions, score, self.method, self.width)
        if self.bias is not None:
            score = add_bias(score, self.bias)
        if self.tau or self.width or self.bias is not None:
            label = score.argmax(axis=1).astype(np.int32)
        if self.hold:
            label = apply_per_clip(predictions, label, lambda n, x: hold_labels(n, x, self.hold))
        return dict(pred_score=score, pred_label=label)

    def _has_valid_threshold(self) -> bool:
        values = self.threshold or ()
        return len(values) in (1, len(ACTION_UNITS)) and all(0 <= x <= 1 for x in values)

    def _check_track(self, predictions: Predictions) -> None:
        """Raise ValueError if an option has no meaning for the track."""
        task = predictions.task
        options = dict(tau=self.tau, bias=self.bias, hold=self.hold, threshold=self.threshold)
        for name, value in options.items():
            tasks = ('au', 'mtl') if name == 'threshold' else ('expr', 'mtl')
            if value and task not in tasks:
                raise InvalidValueError(
                    f'--{name}: got it for predictions of the track {task!r}, expected those of '
                    f'{" or ".join(map(repr, tasks))}; remove --{name}'
                )

    @property
    def steps(self) -> list[str]:
        """The steps as predictions record them."""
        steps = [f'tau {self.tau:g}'] if self.tau else []
        steps += [f'smooth {self.method} {self.width}'] if self.width else []
        steps += ['bias ' + ' '.join(f'{x:g}' for x in self.bias)] if self.bias is not None else []
        steps += [f'hold {self.hold}'] if self.hold else []
        if self.threshold:
            each = self.threshold * (len(ACTION_UNITS) // len(self.threshold))
            steps += ['threshold ' + ' '.join(f'{x:g}' for x in each)]
        return steps

    @property
    def window(self) -> str:
        """The smoothing in words.

        >>> Postprocess(width=50).window, Postprocess(width=Seconds(1)).window
        ('box, ± 50 frames', 'box, windows of 1 s')
        """
        is_time, amount = isinstance(self.width, Seconds), f'{self.width}'.removesuffix('s')
        extent = 'windows of' if is_time else '±'
        extent = 'standard deviation' if self.method == 'gaussian' else extent
        return f'{self.method}, {extent} {amount} {"s" if is_time else "frames"}'

    def _seen_prior(self, predictions: Predictions) -> np.ndarray:
        """Return the shares of the classes that training saw, (C,)."""
        prior = np.array(self.prior)
        if len(prior) != len(predictions.classes):
            raise InvalidValueError(
                f'--tau: got the shares of {len(prior)} classes for predictions of '
                f'{len(predictions.classes)}, expected the same; give annotations of their edition'
            )
        if predictions.balance is not None:
            return predictions.balance.apply(prior)
        print_log(
            f'--tau: the predictions do not say whether the training of {predictions.config!r} '
            'balanced the classes, so the frequencies of the annotations are used. If it did, rare '
            'classes are favoured too much; write the file again with tools/test.py',
            logger='current',
            level=logging.WARNING,
        )
        return prior


def apply_per_clip(
    table: FrameTable,
    column: np.ndarray,
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    position: np.ndarray | None = None,
) -> np.ndarray:
    """Apply a function of positions and values to each clip of a column.

    Args:
        table (FrameTable): Sorted table.
        column (ndarray): (F,) or (F, K) values.
        function (Callable): Function that returns new values of the frames of one clip.
        position (ndarray, optional): (F,) position of each frame in its clip. Defaults to the frame
            numbers.

    Returns:
        ndarray: New values of all frames, in the shape of ``column``.
    """
    position = table.frame_no if position is None else position
    result = column.copy()
    for rows in table.rows_by_clip():
        if len(position[rows]):
            result[rows] = function(position[rows], column[rows])
    return result


def smooth_clips(
    predictions: Predictions, score: np.ndarray, method: str, width: Width
) -> np.ndarray:
    """Smooth the probabilities (F, C) of each clip, see :func:`smooth_scores`.

    Raises:
        ValueError: If the width is in seconds and the predictions have no times.
    """
    position = find_positions(predictions, width)
    return apply_per_clip(
        predictions, score, lambda n, x: smooth_scores(n, x, method, width), position
    )


def smooth_column(
    predictions: Predictions, values: np.ndarray, target: Target, method: str, width: Width
) -> np.ndarray:
    """Smooth valence and arousal or the probabilities of action units for each clip.

    Args:
        predictions (Predictions): The frames.
        values (ndarray): (F, K) values of the frames.
        target (Target): ``VALENCE_AROUSAL`` or ``ACTION_UNIT``.
        method (str): See :func:`smooth_scores`.
        width (Width): Width of the smoothing.
    """
    return apply_per_clip(
        predictions,
        values,
        lambda n, x: smooth_values(n, x, method, width, *target.limits),
        find_positions(predictions, width),
    )


def find_positions(predictions: Predictions, width: Width) -> np.ndarray:
    """Return the frame numbers, or the times if the width is in seconds.

    Raises:
        ValueError: If the width is in seconds and the predictions have no times.
    """
    if isinstance(width, Seconds):
        if 'time' not in predictions.columns:
            raise InvalidValueError(
                f'--width {width}: got predictions without time stamps, expected those of a video '
                '(tools/predict_video.py); give a width in frames, such as 25'
            )
        return predictions['time']
    return predictions.frame_no


def adjust_prior(score: np.ndarray, prior: np.ndarray, tau: float) -> np.ndarray:
    """Divide probabilities (F, C) by class shares (C,) to the power of tau and renormalise.

    >>> adjust_prior(np.array([[.6, .4]]), np.array([.6, .4]), 1)
    array([[0.5, 0.5]], dtype=float32)
    """
    adjusted = score / prior**tau
    return (adjusted / adjusted.sum(axis=1, keepdims=True)).astype(np.float32)


def add_bias(score: np.ndarray, bias: Sequence[float]) -> np.ndarray:
    """Add a bias (C,) to the logarithms of probabilities (F, C) and renormalise.

    Raises:
        ValueError: If there is not one value per class.

    >>> add_bias(np.array([[.6, .4]]), [0, np.log(1.5)])
    array([[0.5, 0.5]], dtype=float32)
    """
    if len(bias) != score.shape[1]:
        raise InvalidValueError(
            f'--bias: got {len(bias)} values for {score.shape[1]} classes, expected one per class'
        )
    biased = score * np.exp(bias)
    return (biased / biased.sum(axis=1, keepdims=True)).astype(np.float32)


def class_shares(labels: dict[str, np.ndarray], num_classes: int) -> tuple[float, ...]:
    """Compute the share of each class among labels.

    Args:
        labels (dict): Clip name to its labels (L,), -1 where not annotated.
        num_classes (int): Number of classes.
    """
    label = np.concatenate(list(labels.values()))
    counts = np.bincount(label[label != UNLABELLED], minlength=num_classes)
    return tuple((counts / max(1, counts.sum())).tolist())
