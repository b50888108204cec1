"""Both figures that people report of the same predictions."""

from dataclasses import dataclass

import numpy as np

from abaw_mm.datasets.annotations import UNLABELLED
from abaw_mm.evaluation.metrics.macro_f1 import score_labels
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.submission.gap_filler import GapFiller


@dataclass(frozen=True)
class Scores:
    """Figures of a set, as :func:`score_labels` gives them.

    Attributes:
        with_crop (dict): Of the labelled frames that have a crop: what ``MacroF1`` gives.
        all_labelled (dict | None): Of all labelled frames, the gaps filled as a submission fills
            them; None where the annotations were not given.
        num_filled (int): Labelled frames that were filled.
        empty_clips (list[str]): Clips with labels and without any prediction.
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
        predictions: Of labelled frames, or of all frames of the same clips.
        labels: Clip to its labels (L, ), -1 where not annotated. None takes the labels that the
            predictions hold, which are of frames with a crop alone.
        filler: For frames without a prediction. Defaults to ``GapFiller()``.
        start_index: Number of a clip's first frame.
        absent: What a class without a labelled frame does, see ``MacroF1``.

    Raises:
        ValueError: If there is no label, if the annotations contradict the labels that the
            predictions hold, or as :meth:`GapFiller.fill` does.
    """
    if labels is None:
        known = predictions.take(np.flatnonzero(predictions.gt_label != UNLABELLED))
        if not len(known):
            raise ValueError(
                f'got {len(predictions)} predictions without labels, expected some; give the '
                'folder of annotations by --ann-file'
            )
        scores = score_labels(known.pred_label, known.gt_label, predictions.classes, absent)
        return Scores(scores, None, 0, [])
    clips, clip_id, frame_no, target = _labelled_frames(labels, start_index)
    _check_same_labels(predictions, clips, clip_id, frame_no, target)
    filled = (filler or GapFiller()).fill(predictions, clips, clip_id, frame_no)
    seen = ~filled.filled
    if not seen.any():
        raise ValueError(
            'got no prediction for any labelled frame, expected some; give the annotations of the '
            'set that was tested'
        )
    return Scores(
        score_labels(filled.label[seen], target[seen], predictions.classes, absent),
        score_labels(filled.label, target, predictions.classes, absent),
        int(np.count_nonzero(filled.filled)),
        filled.empty_clips,
    )


def _labelled_frames(
    labels: dict[str, np.ndarray], start_index: int
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Clips with labels, and of each labelled frame its clip, number and label."""
    rows = {clip: np.flatnonzero(label != UNLABELLED) for clip, label in sorted(labels.items())}
    rows = {clip: at for clip, at in rows.items() if len(at)}
    if not rows:
        raise ValueError(
            f'got {len(labels)} clips without any label, expected annotated ones; correct '
            '--ann-file or --clips'
        )
    return (
        list(rows),
        np.repeat(np.arange(len(rows), dtype=np.int32), [len(at) for at in rows.values()]),
        np.concatenate(list(rows.values())) + start_index,
        np.concatenate([labels[clip][at] for clip, at in rows.items()]).astype(np.int64),
    )


def _check_same_labels(
    predictions: Predictions,
    clips: list[str],
    clip_id: np.ndarray,
    frame_no: np.ndarray,
    target: np.ndarray,
) -> None:
    """Refuse annotations that contradict the labels with which the predictions were made."""
    row_of = {clip: i for i, clip in enumerate(clips)}
    theirs = np.array([row_of.get(clip, -1) for clip in predictions.clips])[predictions.clip_id]
    kept = np.flatnonzero((theirs >= 0) & (predictions.gt_label != UNLABELLED))
    if not len(kept):
        return
    key = clip_id.astype(np.int64) << 32 | frame_no
    wanted = theirs[kept].astype(np.int64) << 32 | predictions.frame_no[kept]
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    got = np.where(key[at] == wanted, target[at], UNLABELLED)
    differs = np.flatnonzero(got != predictions.gt_label[kept])
    if len(differs):
        row = kept[differs[0]]
        raise ValueError(
            f'got the label {got[differs[0]]} for frame {predictions.frame_no[row]} of '
            f'{predictions.clips[predictions.clip_id[row]]!r} in the annotations, and '
            f'{predictions.gt_label[row]} in the predictions ({len(differs)} such frames), '
            'expected the same; give the annotations of the same edition, and its --start-index'
        )
