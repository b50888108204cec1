"""A class for every frame that is asked for, also where the face detector found no face."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abaw_mm.datasets.annotations import EXPRESSIONS
from abaw_mm.errors import shorten
from abaw_mm.evaluation.predictions.predictions import Predictions

RULES = ('interpolate', 'previous', 'nearest')


def fill_clip(
    known: np.ndarray,
    label: np.ndarray,
    score: np.ndarray,
    wanted: np.ndarray,
    rule: str,
    start_class: int = 7,
) -> np.ndarray:
    """Classes of frames of one clip, of which some are known.

    Args:
        known (ndarray): (P, ) numbers of the known frames, rising; at least one.
        label (ndarray): (P, ) their classes.
        score (ndarray): (P, C) their probabilities.
        wanted (ndarray): (W, ) numbers of the frames asked for, in any order.
        rule (str): One of ``RULES``, see :class:`GapFiller`.
        start_class (int): For ``'previous'``, the class before the first known frame.

    Returns:
        ndarray: (W, ) int; a known frame keeps its class.

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
    else:  # of two as near the earlier
        filled = np.where(
            abs(wanted - known[left]) <= abs(known[right] - wanted), label[left], label[right]
        )
    return np.where(known[right] == wanted, label[right], filled)


@dataclass
class FilledFrames:
    """Classes of all frames asked for.

    Attributes:
        label (ndarray): (W, ) int32, the class.
        filled (ndarray): (W, ) bool, where there was no prediction.
        empty_clips (list[str]): Clips without any prediction.
    """

    label: np.ndarray
    filled: np.ndarray
    empty_clips: list[str]


class GapFiller:
    """A class for every frame asked for, by a declared rule where there is no prediction.

    A challenge asks for all frames of a video; in some 1.5 % of them the detector found no face.

    Args:
        rule (str): ``'interpolate'`` draws each class's probability as a line along the frame
            numbers, between the frames before and after, and takes the likeliest class; before the
            first and after the last frame their probabilities are held. ``'nearest'`` takes the
            class of the nearest frame, so that a gap is split in the middle (of two as near the
            earlier). ``'previous'`` repeats the class of the frame before. Or the name of a class,
            for all such frames. Defaults to ``'interpolate'``.
        start_class (str): For ``'previous'``, the class before a clip's first prediction. Defaults
            to ``'Other'``, class 7, as the paper's authors do.
        empty_clip (str, optional): Class of the clips without any prediction. Defaults to None,
            which refuses such clips, unless ``rule`` is a class.
        classes (Sequence[str]): Names of the classes.

    Raises:
        ValueError: For an unknown rule or class.
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
            raise ValueError(
                f'--fill: got {rule!r}, expected {", ".join(RULES)}, or a class: '
                f'{", ".join(self.classes)}'
            )
        self.rule = rule
        self.start_class = self._class_of(start_class, '--start-class')
        if empty_clip is None and rule in self.classes:
            empty_clip = rule
        self.empty_clip = None if empty_clip is None else self._class_of(empty_clip, '--empty-clip')

    def _class_of(self, name: str, flag: str) -> int:
        if name not in self.classes:
            raise ValueError(f'{flag}: got {name!r}, expected a class: {", ".join(self.classes)}')
        return self.classes.index(name)

    def fill(
        self,
        predictions: Predictions,
        clips: Sequence[str],
        clip_id: np.ndarray,
        frame_no: np.ndarray,
    ) -> FilledFrames:
        """Classes of the frames asked for.

        Args:
            predictions: Of these frames, or some of them, or more.
            clips: Names of the clips asked for.
            clip_id: (W, ) the clip of each frame asked for, a row of ``clips``.
            frame_no: (W, ) its number.

        Raises:
            ValueError: If no clip has a prediction, or a clip has none and ``empty_clip`` is not
                given.
        """
        predictions.expect_classes(self.classes)
        ends = np.searchsorted(predictions.clip_id, np.arange(len(predictions.clips) + 1))
        place = {clip: slice(*ends[i : i + 2]) for i, clip in enumerate(predictions.clips)}
        label = np.empty(len(frame_no), np.int32)
        filled = np.ones(len(frame_no), bool)
        empty_clips, empty_rows = [], []
        order = np.argsort(clip_id, kind='stable')
        bounds = np.searchsorted(clip_id[order], np.arange(len(clips) + 1))
        for i, clip in enumerate(clips):
            rows = order[bounds[i] : bounds[i + 1]]
            known = predictions.frame_no[place.get(clip, slice(0))]
            if not len(known):
                empty_clips.append(clip)
                empty_rows.append(rows)
                continue
            at = place[clip]
            found = np.isin(frame_no[rows], known)
            filled[rows] = ~found
            label[rows] = self._fill_clip(
                known, predictions.pred_label[at], predictions.pred_score[at], frame_no[rows], found
            )
        self._check_empty(empty_clips, clips, predictions)
        if empty_clips:
            label[np.concatenate(empty_rows)] = self.empty_clip
        return FilledFrames(label, filled, empty_clips)

    def _fill_clip(
        self,
        known: np.ndarray,
        label: np.ndarray,
        score: np.ndarray,
        wanted: np.ndarray,
        found: np.ndarray,
    ) -> np.ndarray:
        if self.rule in RULES:
            return fill_clip(known, label, score, wanted, self.rule, self.start_class)
        out = np.full(len(wanted), self.classes.index(self.rule))
        out[found] = label[np.searchsorted(known, wanted[found])]
        return out

    def _check_empty(
        self, empty_clips: Sequence[str], clips: Sequence[str], predictions: Predictions
    ) -> None:
        if len(empty_clips) == len(clips):
            raise ValueError(
                f'got predictions of other clips ({shorten(predictions.clips[:3])}) than the '
                f'{len(clips)} asked for ({shorten(list(clips[:3]))}), expected those of the same '
                'set; test on it, with test_dataloader.dataset.ann_file'
            )
        if empty_clips and self.empty_clip is None:
            raise ValueError(
                f'got no prediction at all for {len(empty_clips)} of the {len(clips)} clips asked '
                f'for, {shorten(list(empty_clips))}, expected some of each; their crops may not be '
                'unpacked (cropped_aligned_new_50_vids). If they have none, choose their class: '
                '--empty-clip Neutral'
            )
