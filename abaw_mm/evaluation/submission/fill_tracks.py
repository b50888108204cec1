"""Fill the frames without a prediction, for each track."""

from collections.abc import Sequence

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import find_thresholds
from abaw_mm.evaluation.submission.gap_filler import RULES, GapFiller, find_empty_clips
from abaw_mm.evaluation.submission.row_values import count_values, parse_values
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import EXPRESSIONS, get_targets


def fill_values(known: np.ndarray, values: np.ndarray, wanted: np.ndarray, rule: str) -> np.ndarray:
    """Find the values of frames of one clip, some of which are known.

    Args:
        known (ndarray): (P,) numbers of the known frames, increasing; at least one.
        values (ndarray): (P, K) their values.
        wanted (ndarray): (W,) numbers of the wanted frames, in any order.
        rule (str): ``'interpolate'``: linearly, constant at the ends. ``'nearest'``: on a tie the
            earlier frame. ``'previous'``: the frame before, the first one at the start.

    Returns:
        ndarray: (W, K) values. A known frame keeps its values.

    >>> known, values = np.array([2, 6]), np.array([[0.0], [1.0]])
    >>> for rule in ('interpolate', 'nearest', 'previous'):
    ...     fill_values(known, values, np.arange(1, 8), rule)[:, 0].tolist()
    [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    """
    if rule == 'interpolate':
        return np.stack([np.interp(wanted, known, column) for column in values.T], axis=1)
    left = np.maximum(np.searchsorted(known, wanted, side='right') - 1, 0)
    if rule == 'previous':
        return values[left]
    right = np.minimum(left + 1, len(known) - 1)
    is_left = abs(wanted - known[left]) <= abs(known[right] - wanted)
    return values[np.where(is_left, left, right)]


class TrackFiller:
    """Fill frames without a prediction of the VA, the AU or the multi-task track.

    Valence and arousal are filled by :func:`fill_values`, action units by their probabilities, to
    which the thresholds in the steps are then applied, by default 0.5. :class:`GapFiller` fills
    expressions.

    Args:
        task (str): Track.
        rule (str): ``'interpolate'``, ``'nearest'`` or ``'previous'``. Defaults to
            ``'interpolate'``.
        start_class (str): Expression before the first prediction of a clip, for ``'previous'``.
            Defaults to ``'Other'``.
        empty_clip (str, optional): Values of clips without any prediction, as in a row of the
            submission. Defaults to an error for such clips.

    Raises:
        ValueError: If an argument has no meaning for the track.
    """

    def __init__(
        self,
        task: str,
        rule: str = 'interpolate',
        start_class: str = 'Other',
        empty_clip: str | None = None,
    ) -> None:
        if rule not in RULES:
            raise InvalidValueError(
                f'--fill: got {rule!r}, expected {", ".join(RULES)} for the track {task!r}'
            )
        if start_class != 'Other' and task != 'mtl':
            raise InvalidValueError(
                f'--start-class: got {start_class!r} for the track {task!r}, which has no '
                'expressions, expected none; remove it'
            )
        self.task, self.rule = task, rule
        self.expressions = GapFiller(rule, start_class, EXPRESSIONS[0])
        self.empty = None if empty_clip is None else parse_values(empty_clip, task, '--empty-clip')

    def fill(self, predictions: Predictions, frames: FrameTable) -> FrameTable:
        """Find what to answer for each wanted frame.

        Args:
            predictions (Predictions): Predictions of these frames, of some of them, or of more.
            frames (FrameTable): W wanted frames, in any order; a frame may be repeated.

        Returns:
            FrameTable: ``frames`` with the columns of the track, ``label`` (W,), ``va`` (W, 2) or
            ``au`` (W, 12), and ``is_filled`` (W,) bool, True where there is no prediction.

        Raises:
            ValueError: If the predictions are of another track, no clip has a prediction, or a clip
                has none and ``empty_clip`` is not given.
        """
        predictions.check_task([self.task])
        absent = find_empty_clips(predictions, frames.clips)
        _check_clips(predictions, frames, absent, self.task, may_be_empty=self.empty is not None)
        columns: dict[str, np.ndarray] = {}
        for target in get_targets(self.task):
            if target.is_class:
                column = self.expressions.fill(predictions, frames)['label']
            else:
                column = _fill_column(
                    predictions, frames, predictions[target.prediction], self.rule
                )
            if target.column == 'au':
                limits = np.asarray(find_thresholds(predictions.steps), np.float32)
                column = (column >= limits).astype(np.int32)
            if self.empty is not None and absent:
                rows = np.isin(frames.clips, absent)[frames.clip_id]
                column[rows] = self.empty[target.column]
            columns[target.column] = column
        return frames.with_columns(**columns, is_filled=predictions.find(frames) < 0)


def make_filler(
    task: str,
    rule: str = 'interpolate',
    start_class: str = 'Other',
    empty_clip: str | None = None,
) -> GapFiller | TrackFiller:
    """Return the filler of a track.

    Raises:
        ValueError: If an argument has no meaning for the track.
    """
    if task == 'expr':
        return GapFiller(rule, start_class, empty_clip)
    return TrackFiller(task, rule, start_class, empty_clip)


def _fill_column(
    predictions: Predictions, frames: FrameTable, values: np.ndarray, rule: str
) -> np.ndarray:
    """Fill the values (F, K) of all clips that have a prediction, (W, K); 0 in the others."""
    rows_of = dict(zip(predictions.clips, predictions.rows_by_clip(), strict=True))
    found = np.zeros((len(frames), values.shape[1]), np.float32)
    for clip, rows in zip(frames.clips, frames.rows_by_clip(), strict=True):
        known = rows_of.get(clip, slice(0))
        if len(predictions.frame_no[known]):
            numbers = predictions.frame_no[known]
            found[rows] = fill_values(numbers, values[known], frames.frame_no[rows], rule)
    return found


def _check_clips(
    predictions: Predictions,
    frames: FrameTable,
    absent: Sequence[str],
    task: str,
    may_be_empty: bool,
) -> None:
    if len(absent) == len(frames.clips):
        raise InvalidValueError(
            f'got predictions of other clips ({shorten(predictions.clips[:3])}) than the '
            f'{len(frames.clips)} wanted ones ({shorten(frames.clips[:3])}), expected those of the '
            'same set; test on it, with test_dataloader.dataset.ann_file'
        )
    if absent and not may_be_empty:
        raise InvalidValueError(
            f'got no prediction for {len(absent)} of the {len(frames.clips)} wanted clips, '
            f'{shorten(absent)}, expected some for each; check that their crops are unpacked. If '
            'they have no crops, choose their values as in a row: --empty-clip '
            + ','.join('0' * count_values(task))
        )
