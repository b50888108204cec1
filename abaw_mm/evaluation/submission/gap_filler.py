"""Predict a class for every frame, also where the face detector found no face."""

from collections.abc import Sequence

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.evaluation.postprocessing.smoothing import hold_labels
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import find_hold
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import EXPRESSIONS, UNLABELLED

RULES = ('interpolate', 'previous', 'nearest')


def fill_clip(
    known: np.ndarray,
    label: np.ndarray,
    score: np.ndarray,
    wanted: np.ndarray,
    rule: str,
    start_class: int = 7,
) -> np.ndarray:
    """Find the classes of frames of one clip, some of which are known.

    Args:
        known (ndarray): (P,) numbers of the known frames, increasing; at least one.
        label (ndarray): (P,) their classes.
        score (ndarray): (P, C) their probabilities.
        wanted (ndarray): (W,) numbers of the wanted frames, in any order.
        rule (str): One of ``RULES``, see :class:`GapFiller`.
        start_class (int): Class before the first known frame, for ``'previous'``.

    Returns:
        ndarray: (W,) int classes. A known frame keeps its class.

    >>> known, score = np.array([2, 6]), np.array([[.9, .1], [.3, .7]])
    >>> wanted, label = np.arange(1, 8), score.argmax(1)
    >>> fill_clip(known, label, score, wanted, 'interpolate')  # .75, .6, .45 between them
    array([0, 0, 0, 0, 1, 1, 1])
    >>> fill_clip(known, label, score, wanted, 'nearest')
    array([0, 0, 0, 0, 1, 1, 1])
    >>> fill_clip(known, label, score, wanted, 'previous', start_class=1)
    array([1, 0, 0, 0, 0, 1, 1])
    """
    after = np.searchsorted(known, wanted)  # the first known frame from here on
    right = np.minimum(after, len(known) - 1)
    left = np.maximum(after - 1, 0)
    if rule == 'interpolate':
        between = np.stack([np.interp(wanted, known, column) for column in score.T], axis=1)
        filled = between.argmax(axis=1)
    elif rule == 'previous':
        filled = np.where(after > 0, label[left], start_class)
    else:  # nearest; on a tie the earlier frame
        filled = np.where(
            abs(wanted - known[left]) <= abs(known[right] - wanted), label[left], label[right]
        )
    return np.where(known[right] == wanted, label[right], filled)


def find_empty_clips(predictions: FrameTable, clips: Sequence[str]) -> list[str]:
    """Return the names of the clips without any prediction."""
    present = {predictions.clips[i] for i in np.unique(predictions.clip_id)}
    return [clip for clip in clips if clip not in present]


def _hold(frame_no: np.ndarray, label: np.ndarray, known: np.ndarray, hold: int) -> np.ndarray:
    """Enforce the minimum duration of a class among the frames (W,) of a clip, in any order."""
    order = np.argsort(frame_no)
    frame_no, held = frame_no[order], label[order]
    # First only runs of filled frames: a gap must not cut a run of predictions in two short ones.
    held = hold_labels(frame_no, held, hold, kept=known[order])
    label = label.copy()
    label[order] = hold_labels(frame_no, held, hold)
    return label


class GapFiller:
    """Fill frames without a prediction by a rule.

    A challenge asks for all frames of a video. In about 1.5 % of them the detector found no face.
    If predictions have a minimum duration (``hold``), it holds for the filled frames, too.

    Args:
        rule (str): ``'interpolate'`` interpolates the probability of each class linearly between
            the predicted frames before and after, and takes the most likely class. At the ends of
            a clip, the probabilities of the first and the last predicted frame are repeated.
            ``'nearest'`` takes the class of the nearest predicted frame, on a tie the earlier one.
            ``'previous'`` repeats the class of the predicted frame before. A class name gives all
            these frames that class. Defaults to ``'interpolate'``.
        start_class (str): Class before the first prediction of a clip, for ``'previous'``. Defaults
            to ``'Other'``, class 7, as in the code of the paper's authors.
        empty_clip (str, optional): Class of clips without any prediction. Defaults to the class if
            ``rule`` is one, else such clips are an error.
        classes (Sequence[str]): Names of the classes.

    Raises:
        ValueError: If a rule or a class is unknown.
    """

    def __init__(
        self,
        rule: str = 'interpolate',
        start_class: str = 'Other',
        empty_clip: str | None = None,
        classes: Sequence[str] = EXPRESSIONS,
    ) -> None:
        self.classes = tuple(classes)
        if rule not in (*RULES, *self.classes):
            raise InvalidValueError(
                f'--fill: got {rule!r}, expected {", ".join(RULES)}, or a class: '
                f'{", ".join(self.classes)}'
            )
        self.rule = rule
        self.start_class = self._find_class(start_class, '--start-class')
        if empty_clip is None and rule in self.classes:
            empty_clip = rule
        self.empty_class = (
            None if empty_clip is None else self._find_class(empty_clip, '--empty-clip')
        )

    def fill(self, predictions: Predictions, frames: FrameTable) -> FrameTable:
        """Find the class of each wanted frame.

        Args:
            predictions (Predictions): Predictions of these frames, of some of them, or of more.
            frames (FrameTable): W wanted frames, in any order.

        Returns:
            FrameTable: ``frames`` with the columns ``label``, (W,) int32, and ``is_filled``,
            (W,) bool, True where there is no prediction.

        Raises:
            ValueError: If the predictions have other classes, no clip has a prediction, or a clip
                has none and ``empty_clip`` is not given.
        """
        predictions.check_classes(self.classes)
        self._check_clips(predictions, frames)
        found = predictions.find(frames)
        known_rows = dict(zip(predictions.clips, predictions.rows_by_clip(), strict=True))
        empty_class = UNLABELLED if self.empty_class is None else self.empty_class
        label = np.full(len(frames), empty_class, np.int32)
        for clip, rows in zip(frames.clips, frames.rows_by_clip(), strict=True):
            known = known_rows.get(clip, slice(0))
            if not len(predictions.frame_no[known]):
                continue
            if self.rule in RULES:
                label[rows] = fill_clip(
                    predictions.frame_no[known],
                    predictions['pred_label'][known],
                    predictions['pred_score'][known],
                    frames.frame_no[rows],
                    self.rule,
                    self.start_class,
                )
            else:
                label[rows] = self.classes.index(self.rule)
        label = np.where(found < 0, label, predictions['pred_label'][found])
        hold = find_hold(predictions.steps)
        for rows in frames.rows_by_clip():
            if hold and len(frames.frame_no[rows]):
                label[rows] = _hold(frames.frame_no[rows], label[rows], found[rows] >= 0, hold)
        return frames.with_columns(label=label, is_filled=found < 0)

    def _find_class(self, name: str, flag: str) -> int:
        if name not in self.classes:
            raise InvalidValueError(
                f'{flag}: got {name!r}, expected a class: {", ".join(self.classes)}'
            )
        return self.classes.index(name)

    def _check_clips(self, predictions: Predictions, frames: FrameTable) -> None:
        clips = frames.clips
        empty_clips = find_empty_clips(predictions, clips)
        if len(empty_clips) == len(clips):
            raise InvalidValueError(
                f'got predictions of other clips ({shorten(predictions.clips[:3])}) than the '
                f'{len(clips)} wanted ones ({shorten(clips[:3])}), expected those of the same set; '
                'test on it, with test_dataloader.dataset.ann_file'
            )
        if empty_clips and self.empty_class is None:
            raise InvalidValueError(
                f'got no prediction for {len(empty_clips)} of the {len(clips)} wanted clips, '
                f'{shorten(empty_clips)}, expected some for each; check that their crops are '
                'unpacked (cropped_aligned_new_50_vids). If they have no crops, choose their '
                'class: --empty-clip Neutral'
            )
