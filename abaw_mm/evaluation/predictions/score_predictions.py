"""Score predictions on labelled frames with a crop, and on all labelled frames."""

from dataclasses import dataclass

import numpy as np

from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.macro_f1 import score_labels
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.submission.gap_filler import GapFiller, find_empty_clips
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import UNLABELLED


@dataclass(frozen=True)
class Scores:
    """Scores of a dataset, as :func:`score_labels` returns them.

    Attributes:
        with_crop (dict): Scores of the labelled frames with a crop, the same as of ``MacroF1``.
        all_labelled (dict | None): Scores of all labelled frames, with gaps filled as in a
            submission. None if there are no annotations.
        num_filled (int): Number of labelled frames that were filled.
        empty_clips (list[str]): Clips with labels but without any prediction.
    """

    with_crop: dict
    all_labelled: dict | None
    num_filled: int
    empty_clips: list[str]


def score_predictions(
    predictions: Predictions,
    labels: dict[str, np.ndarray] | None = None,
    filler: GapFiller | None = None,
    start_index: int = 1,
    absent: str = 'zero',
) -> Scores:
    """Score predictions on labelled frames with a crop, and on all labelled frames.

    Args:
        predictions (Predictions): Predictions of labelled frames, or of all frames of the same
            clips.
        labels (dict, optional): Clip name to its labels (L,), -1 where not annotated. Defaults to
            the labels in ``predictions``, which are of frames with a crop only.
        filler (GapFiller, optional): Filler for frames without a prediction. Defaults to
            ``GapFiller()``.
        start_index (int): Number of the first frame of a clip. Defaults to 1.
        absent (str): Treatment of classes without a labelled frame, see ``MacroF1``.

    Raises:
        ValueError: If the predictions are of another track, if there is no label, if the
            annotations contradict the labels in ``predictions``, or as :meth:`GapFiller.fill` does.
    """
    predictions.check_task(('expr',))
    if labels is None:
        known = predictions.take(predictions['gt_label'] != UNLABELLED)
        if not len(known):
            raise InvalidValueError(
                f'got {len(predictions)} predictions without labels, expected some labels; give '
                'the folder of annotations with --ann-file'
            )
        scores = score_labels(known['pred_label'], known['gt_label'], known.classes, absent)
        return Scores(scores, None, 0, [])
    frames = _tabulate_labels(labels, start_index)
    _check_same_labels(predictions, frames)
    target = frames['gt_label']
    filled = (filler or GapFiller()).fill(predictions, frames)
    seen = ~filled['is_filled']
    if not seen.any():
        raise InvalidValueError(
            'got no prediction for any labelled frame, expected some; give the annotations of the '
            'set that was tested'
        )
    label, classes = filled['label'], predictions.classes
    return Scores(
        with_crop=score_labels(label[seen], target[seen], classes, absent),
        all_labelled=score_labels(label, target, classes, absent),
        num_filled=int(np.count_nonzero(~seen)),
        empty_clips=find_empty_clips(predictions, frames.clips),
    )


def _tabulate_labels(labels: dict[str, np.ndarray], start_index: int) -> FrameTable:
    """Make a table of the labelled frames, with the column ``gt_label``."""
    rows = {clip: np.flatnonzero(label != UNLABELLED) for clip, label in sorted(labels.items())}
    rows = {clip: at for clip, at in rows.items() if len(at)}
    if not rows:
        raise InvalidValueError(
            f'got {len(labels)} clips without any label, expected annotated ones; correct '
            '--ann-file or --clips'
        )
    return FrameTable.from_clips(
        {clip: at + start_index for clip, at in rows.items()},
        gt_label={clip: labels[clip][at].astype(np.int64) for clip, at in rows.items()},
    )


def _check_same_labels(predictions: Predictions, frames: FrameTable) -> None:
    """Check that annotations have the labels that are in the predictions."""
    is_annotated = np.isin(predictions.clips, frames.clips)[predictions.clip_id]
    known = predictions.take(is_annotated & (predictions['gt_label'] != UNLABELLED))
    row = frames.find(known)
    label = np.where(row < 0, UNLABELLED, frames['gt_label'][row])
    differs = np.flatnonzero(label != known['gt_label'])
    if len(differs):
        first = differs[0]
        raise InvalidValueError(
            f'got the label {label[first]} for {known.describe(first)} in the annotations, and '
            f'{known["gt_label"][first]} in the predictions ({len(differs)} such frames), expected '
            'the same; give the annotations of the same edition, and its --start-index'
        )
