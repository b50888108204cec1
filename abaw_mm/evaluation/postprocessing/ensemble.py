"""Combine the predictions of several models: weighted mean and confidence gate."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import add_step
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import Target, get_targets


def check_same_frames(parts: Sequence[Predictions], names: Sequence[str]) -> None:
    """Check that predictions have the same track, classes, frames and annotations.

    Args:
        parts (Sequence[Predictions]): At least one.
        names (Sequence[str]): Names of their files, for messages.

    Raises:
        ValueError: If one differs from the first. The message says in what.
    """
    first = parts[0]
    for part, name in zip(parts[1:], names[1:], strict=True):
        if part.task != first.task:
            raise InvalidValueError(
                f'{name}: got predictions of the track {part.task!r}, and of {first.task!r} in '
                f'{names[0]}, expected the same track; use files of one track'
            )
        if first.classes:
            part.check_classes(first.classes, name)
        _check_no_missing(first, part, names[0], name)
        _check_no_missing(part, first, name, names[0])
        if len(part) != len(first):
            raise InvalidValueError(
                f'{name}: got {len(part)} rows, and {len(first)} in {names[0]}, expected the same '
                'rows of repeated frames; test on the same annotations'
            )
        for target in get_targets(first.task):
            _check_same_annotations(first, part, target, names[0], name)


def _check_same_annotations(
    first: Predictions, part: Predictions, target: Target, first_name: str, name: str
) -> None:
    one, other = first[target.ground_truth], part[target.ground_truth]
    differs = np.flatnonzero((one != other).reshape(len(one), -1).any(axis=1))
    if len(differs):
        row = differs[0]
        what = 'label' if target.is_class else target.ground_truth
        raise InvalidValueError(
            f'{name}: got the {what} {other[row].tolist()} for {first.describe(row)}, and '
            f'{one[row].tolist()} in {first_name} ({len(differs)} such frames), expected '
            'the same; test on the same annotations'
        )


def _check_no_missing(full: FrameTable, part: FrameTable, full_name: str, name: str) -> None:
    missing = part.find_missing(full)
    if len(missing):
        raise InvalidValueError(
            f'{name}: {len(missing)} frames of {full_name} are missing, such as '
            f'{shorten(full.name_frames(missing))}, expected the same frames in both files; test '
            'on the same set'
        )


def average(
    parts: Sequence[Predictions], names: Sequence[str], weights: Sequence[float] | None = None
) -> Predictions:
    """Average the predictions of several models on the same frames.

    Args:
        parts (Sequence[Predictions]): At least one.
        names (Sequence[str]): Names of their files, for messages.
        weights (Sequence[float], optional): Weight of each model, in any unit. Defaults to the
            same weight for all.

    Raises:
        ValueError: If classes, frames or labels differ, a file has been through a step, or the
            weights are not numbers from 0, one per file, with a sum above 0.
    """
    if weights is not None:
        _check_weights(weights, len(parts))
    check_same_frames(parts, names)
    first = parts[0]
    if len(parts) == 1:
        return first
    for part, name in zip(parts, names, strict=True):
        add_step(part.steps, f'mean with {name}')
    step = f'mean of {len(parts)}'
    if weights is not None:
        step += ' weights ' + ' '.join(f'{w / sum(weights):g}' for w in weights)
    columns = {
        target.prediction: average_scores([part[target.prediction] for part in parts], weights)
        for target in get_targets(first.task)
    }
    return _combine(parts, columns, (step,))


def average_scores(
    scores: Sequence[np.ndarray], weights: Sequence[float] | None = None
) -> np.ndarray:
    """Average the probabilities, or other predictions, (F, C) of several models, (F, C) float32.

    >>> average_scores([np.array([[1., 0.]]), np.array([[0., 1.]])], [3, 1])
    array([[0.75, 0.25]], dtype=float32)
    """
    parts = weights or [1.0] * len(scores)
    total = sum(w * s.astype(np.float64) for w, s in zip(parts, scores, strict=True) if w)
    return np.asarray(total / sum(parts), np.float32)


def gate(predictions: Predictions, second: Predictions, threshold: float, name: str) -> Predictions:
    """Replace the probabilities of frames where a second model is confident.

    Args:
        predictions (Predictions): Predictions of a model, or the mean of several.
        second (Predictions): Predictions of another model on the same frames.
        threshold (float): Confidence of the second model, its highest probability, from which its
            probabilities are used. In 0-1, above 0.
        name (str): Name of the file of the second model, for messages.

    Raises:
        ValueError: If classes, frames or labels differ, the second model's file or the first one
            has been through a step that must follow, or the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise InvalidValueError(f'--gate: got {threshold}, expected a confidence above 0, up to 1')
    predictions.check_task(('expr',), '--gate')
    check_same_frames([predictions, second], ['the predictions', name])
    add_step(second.steps, f'gate with {name}')
    score = gate_scores(predictions['pred_score'], second['pred_score'], threshold)
    steps = add_step(predictions.steps, f'gate {threshold:g}')
    return _combine([predictions, second], dict(pred_score=score), steps)


def gate_scores(score: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray:
    """Replace rows (C,) of probabilities (F, C) where the highest of the second are >= threshold.

    >>> gate_scores(np.array([[1., 0.], [1., 0.]]), np.array([[.1, .9], [.4, .6]]), 0.9)
    array([[0.1, 0.9],
           [1. , 0. ]])
    """
    return np.where(second.max(axis=1, keepdims=True) >= threshold, second, score)


def _combine(
    parts: Sequence[Predictions], columns: dict[str, np.ndarray], steps: tuple[str, ...]
) -> Predictions:
    """Return predictions with the columns that several models predict together."""
    first = parts[0]
    if 'pred_score' in columns:
        columns = columns | dict(pred_label=columns['pred_score'].argmax(axis=1).astype(np.int32))
    return replace(
        first,
        columns=first.columns | columns,
        sha256='+'.join(part.sha256 for part in parts),
        config='+'.join(part.config for part in parts),
        steps=steps,
        balance=first.balance if len({part.balance for part in parts}) == 1 else None,
    )


def _check_weights(weights: Sequence[float], number: int) -> None:
    fits = len(weights) == number and min(weights) >= 0 and 0 < sum(weights) < np.inf
    if not fits:
        raise InvalidValueError(
            f'--weights: got {list(weights)} for {number} files, expected one number from 0 for '
            'each file, not all 0'
        )
