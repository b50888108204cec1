"""Score predictions of each track, also on frames without a crop."""

import numpy as np

from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics import CCC, ActionUnitF1, MultiTaskScore
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.score_predictions import Scores, score_predictions
from abaw_mm.evaluation.predictions.steps import find_thresholds
from abaw_mm.evaluation.submission.fill_tracks import TrackFiller
from abaw_mm.evaluation.submission.gap_filler import find_empty_clips
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import get_targets

# For each track the key of its score, and its name and format in tables.
SCORES = dict(
    expr=('macro_f1', 'macro-F1 (%)', '.2f'),
    va=('ccc', 'CCC', '.4f'),
    au=('mean_f1', 'mean F1 (%)', '.2f'),
    mtl=('p_score', 'P', '.4f'),
)


def score_annotated(predictions: Predictions, absent: str = 'zero') -> dict:
    """Score the annotated frames of predictions of any track; ``SCORES`` has the keys.

    Raises:
        ValueError: If no frame is annotated.
    """
    score = score_predictions if predictions.task == 'expr' else score_track
    return score(predictions, absent=absent).with_crop


def score_track(
    predictions: Predictions,
    annotations: FrameTable | None = None,
    filler: TrackFiller | None = None,
    absent: str = 'zero',
) -> Scores:
    """Score predictions on annotated frames with a crop, and on all annotated frames.

    Args:
        predictions (Predictions): Predictions of the VA, the AU or the multi-task track. The
            thresholds in the steps apply.
        annotations (FrameTable, optional): Rows with the columns of the track, such as ``va``.
            Defaults to the annotations in ``predictions``, which are of frames with a crop only.
        filler (TrackFiller, optional): Filler for frames without a prediction.
        absent (str): Treatment of classes and units that do not occur, see ``MacroF1``.

    Returns:
        Scores: Scores as ``CCC``, ``ActionUnitF1`` or ``MultiTaskScore`` name them.

    Raises:
        ValueError: If no frame is annotated, or none of them has a prediction.
    """
    task = predictions.task
    if annotations is None:
        thresholds = find_thresholds(predictions.steps)
        return Scores(_score(predictions, task, thresholds, absent), None, 0, [])
    known = np.zeros(len(annotations), bool)
    for target in get_targets(task):
        known |= target.is_annotated(annotations[target.column])
    frames = annotations.take(known)
    filled = (filler or TrackFiller(task)).fill(predictions, frames)
    columns = {}
    for target in get_targets(task):
        name = 'pred_label' if target.is_class else target.prediction
        column = filled[target.column]
        columns[name] = column if target.is_class else column.astype(np.float32)
        columns[target.ground_truth] = frames[target.column].astype(
            np.int64 if target.is_class else target.dtype
        )
    table = FrameTable(frames.clips, frames.clip_id, frames.frame_no, columns)
    seen = ~filled['is_filled']
    decided = (0.5,) * len(find_thresholds(()))  # the filler has applied the thresholds
    return Scores(
        with_crop=_score(table.take(seen), task, decided, absent),
        all_labelled=_score(table, task, decided, absent),
        num_filled=int(np.count_nonzero(~seen)),
        empty_clips=find_empty_clips(predictions, frames.clips),
    )


def _score(frames: FrameTable, task: str, thresholds: tuple[float, ...], absent: str) -> dict:
    """Score the annotated frames."""
    known = np.zeros(len(frames), bool)
    for target in get_targets(task):
        known |= target.is_annotated(frames[target.ground_truth])
    if not known.any():
        raise InvalidValueError(
            f'got {len(frames)} predictions without annotations, expected some; give the '
            'annotations of the set that was tested with --ann-file'
        )
    frames = frames.take(known)
    if task == 'va':
        return CCC().score(frames)
    if task == 'au':
        return ActionUnitF1(thresholds, absent).score(frames)
    return MultiTaskScore(thresholds, absent).score(frames)
