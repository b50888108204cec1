"""Checks of the columns and scores of predictions."""

from collections.abc import Mapping, Sequence

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import UNLABELLED, Target, find_task, get_targets

# The scores of a frame sum to 1. float32 deviates by 1e-6, a network run in bfloat16 by 1e-2.
SUM_TOLERANCE = 0.02


def check_lengths(columns: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless all columns have the same length."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidValueError(
            f'got columns of different lengths, {lengths}, expected one row per frame'
        )


def check_columns(table: FrameTable, classes: Sequence[str]) -> None:
    """Check columns, classes and frames of predictions.

    Raises:
        ValueError: If columns are not those of one track, do not fit each other or the classes,
            class names repeat, a value is out of range, a frame number is negative, frames repeat
            or are not sorted by clip name and frame number, or times decrease.
    """
    task = find_task(list(table.columns))
    check_lengths(dict(clip_id=table.clip_id, frame_no=table.frame_no, **table.columns))
    for target in get_targets(task):
        missing = {target.prediction, target.ground_truth} - set(table.columns)
        if missing:
            raise InvalidValueError(
                f'got the columns {shorten(sorted(table.columns))}, expected '
                f'{shorten(sorted(missing))} as well, for the task {task!r}'
            )
        if target.is_class:
            _check_classes(table, classes)
        else:
            _check_values(table, target.prediction, target)
            _check_values(table, target.ground_truth, target, target.hidden)
    _check_frames(table, task)
    if 'time' in table.columns:
        _check_times(table)


def _check_classes(table: FrameTable, classes: Sequence[str]) -> None:
    """Check scores and labels of expressions."""
    shape, size = table['pred_score'].shape, len(classes)
    if len(shape) != 2 or shape[1] != size:
        raise InvalidValueError(
            f'got scores of shape {shape} for {size} classes {shorten(list(classes))}, expected '
            'one column per class'
        )
    if len(set(classes)) < size or not all(isinstance(name, str) for name in classes):
        raise InvalidValueError(f'got the classes {list(classes)}, expected different names')
    _check_range(table, 'gt_label', UNLABELLED, size)
    _check_range(table, 'pred_label', 0, size)
    check_scores(table)


def _check_values(
    table: FrameTable, name: str, target: Target, hidden: float | None = None
) -> None:
    """Check that the values (F, K) of a column are in the range of the target."""
    values, (low, high) = table[name], target.limits
    if values.shape != (len(table), len(target.names)):
        raise InvalidValueError(
            f'got {name} of shape {values.shape}, expected ({len(table)}, {len(target.names)}): '
            + ', '.join(target.names)
        )
    fits = target.is_in_range(values)
    if hidden is not None:
        fits |= values == hidden
    bad = np.flatnonzero(~fits.all(axis=1))
    if len(bad):
        row = bad[0]
        or_hidden = '' if hidden is None else f', or {hidden} where not annotated'
        raise InvalidValueError(
            f'got the {name} {np.round(values[row], 4).tolist()} for {table.describe(row)} '
            f'({len(bad)} such frames), expected numbers in {low}..{high}{or_hidden}'
        )


def _check_range(table: FrameTable, name: str, lowest: int, size: int) -> None:
    bad = np.flatnonzero((table[name] < lowest) | (table[name] >= size))
    if len(bad):
        raise InvalidValueError(
            f'got the {name} {table[name][bad[0]]} for {table.describe(bad[0])} ({len(bad)} such '
            f'frames), expected {lowest}..{size - 1}'
        )


def _check_frames(table: FrameTable, task: str) -> None:
    if np.any(table.frame_no < 0):
        raise InvalidValueError('got negative frame numbers, expected those of the file names')
    repeated = table.find_duplicates()
    is_sorted = table.is_sorted()
    if task == 'mtl' and 'sample_idx' in table.columns:  # some images are annotated several times
        order = np.lexsort((table['sample_idx'], table.key))
        is_sorted = bool(np.all(order == np.arange(len(table))))
        copies = repeated if is_sorted else np.empty(0, np.int64)
        repeated = copies[table['sample_idx'][copies] == table['sample_idx'][copies - 1]]
    if len(repeated):
        raise InvalidValueError(
            f'got {table.describe(repeated[0])} twice ({len(repeated)} such rows), expected each '
            'frame once'
        )
    if not is_sorted or list(table.clips) != sorted(set(table.clips)):
        raise InvalidValueError('got unsorted frames, expected them sorted by clip and number')


def _check_times(table: FrameTable) -> None:
    time = table['time']
    if time.ndim != 1 or time.dtype != np.float64 or not np.isfinite(time).all():
        raise InvalidValueError(
            f'got times of shape {time.shape} and type {time.dtype}, expected finite float64 '
            'seconds (F,)'
        )
    back = np.flatnonzero((time[1:] < time[:-1]) & (table.clip_id[1:] == table.clip_id[:-1])) + 1
    if len(back):
        row = int(back[0])
        raise InvalidValueError(
            f'got the time {time[row]:.6f} s for {table.describe(row)} after {time[row - 1]:.6f} s '
            f'({len(back)} such frames), expected times in the order of the frames'
        )


def check_labels(table: FrameTable) -> None:
    """Check that the predicted class of each frame has the highest score.

    Raises:
        ValueError: If one has not. Scores and classes are then of different origin.
    """
    score, label = table['pred_score'], table['pred_label']
    differs = np.flatnonzero(score[np.arange(len(table)), label] < score.max(axis=1))
    if len(differs):
        row = differs[0]
        raise InvalidValueError(
            f'got the pred_label {label[row]} for {table.describe(row)}, whose highest score is '
            f'that of class {score[row].argmax()} ({len(differs)} such frames), expected the most '
            "likely class, or the step 'hold' in steps"
        )


def check_scores(table: FrameTable) -> None:
    """Check that scores are probabilities.

    Raises:
        ValueError: If a score is not finite or negative, or the scores of a frame do not sum to 1.
    """
    score = table['pred_score']
    finite = np.isfinite(score).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        raise InvalidValueError(
            f'got the scores {score[row].tolist()} for {table.describe(row)} '
            f'({np.count_nonzero(~finite)} such frames), expected finite numbers; the training '
            'diverged or the file is damaged'
        )
    sums = score.sum(axis=1)
    fits = (abs(sums - 1) <= SUM_TOLERANCE) & (score >= 0).all(axis=1)
    if not fits.all():
        row = int(fits.argmin())
        raise InvalidValueError(
            f'got the scores {np.round(score[row], 4).tolist()} for {table.describe(row)}, whose '
            f'sum is {sums[row]:.4g} ({np.count_nonzero(~fits)} such frames), expected '
            'probabilities, each in 0-1 and together 1 (logits need a softmax)'
        )
