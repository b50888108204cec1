"""Predictions of a model as a table of frames."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.predictions.checks import check_columns, check_labels
from abaw_mm.evaluation.predictions.class_balance import ClassBalance
from abaw_mm.evaluation.predictions.file import (
    HOW_TO_WRITE,
    find_writer,
    parse_arrays,
    read_arrays,
)
from abaw_mm.evaluation.predictions.steps import check_steps, find_hold
from abaw_mm.files import atomic_write
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import EXPRESSIONS, find_task


@dataclass(eq=False)
class Predictions(FrameTable):
    """Predictions of the frames of a dataset, sorted by clip name and frame number.

    The columns are those of one track; the multi-task track has all of them:

    - ``gt_label`` (F,) int32: label, -1 where hidden.
    - ``pred_label`` (F,) int32: predicted class, the most likely one unless the steps contain
      ``hold``.
    - ``pred_score`` (F, C) float32: probabilities, each in 0-1, together 1 for each frame.
    - ``gt_va`` (F, 2) float32: valence and arousal, -5 where hidden.
    - ``pred_va`` (F, 2) float32: predicted valence and arousal in -1..1.
    - ``gt_au`` (F, 12) int32: 1 where an action unit is present, else 0, -1 where hidden.
    - ``pred_au`` (F, 12) float32: probability of each action unit in 0-1.
    - ``sample_idx`` (F,) int32, optional: row of the dataset. Multi-task annotations repeat some
      frames; ``sample_idx`` then distinguishes their rows, and sorts them.
    - ``time`` (F,) float64, optional: seconds from the start of the video, for each clip not
      decreasing.

    Attributes:
        classes (tuple[str]): Names of the C classes, in the order of the scores; empty without
            ``pred_score``.
        sha256 (str): Checksum of the checkpoint file, ``''`` if unknown.
        config (str): Name of the config, ``''`` if unknown.
        steps (tuple[str]): Postprocessing so far, such as ``('tau 0.5', 'smooth box 50', 'hold
            10')``; empty for what a network predicted.
        balance (ClassBalance, optional): How the training balanced the classes, None if unknown.

    Raises:
        ValueError: If columns are not those of one track or do not fit each other, values are out
            of range, scores are not probabilities, classes are not those of the scores, or frames
            repeat or are not sorted.

    Example:
        >>> predictions = Predictions(
        ...     ['video1'], np.array([0, 0]), np.array([1, 2]),
        ...     dict(gt_label=np.array([4, -1]), pred_label=np.array([4, 0]),
        ...          pred_score=np.eye(8)[[4, 0]]))
        >>> predictions['pred_label'].tolist(), predictions.classes[4]
        ([4, 0], 'Happiness')
    """

    classes: Sequence[str] = EXPRESSIONS
    sha256: str = ''
    config: str = ''
    steps: Sequence[str] = ()
    balance: ClassBalance | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        has_classes = 'pred_score' in self.columns
        self.classes, self.steps = tuple(self.classes) if has_classes else (), tuple(self.steps)
        check_columns(self, self.classes)
        check_steps(self.steps)
        if has_classes and not find_hold(self.steps):
            check_labels(self)

    @property
    def task(self) -> str:
        """Track of the predictions, ``'expr'``, ``'va'``, ``'au'`` or ``'mtl'``."""
        return find_task(list(self.columns))

    @property
    def source(self) -> str:
        """Config, checkpoint and steps, as the commands print them."""
        config = self.config or 'unknown config'
        checkpoint = f'checkpoint {self.sha256[:12]}' if self.sha256 else 'unknown checkpoint'
        return ', '.join([config, checkpoint, *self.steps])

    @property
    def confidence(self) -> np.ndarray:
        """(F,) float32, the probability of the predicted class."""
        return self['pred_score'][np.arange(len(self)), self['pred_label']]

    @classmethod
    def read(cls, path: str | os.PathLike) -> 'Predictions':
        """Read a ``.npz`` that :meth:`write` wrote, or another one with the same arrays.

        ``clip``, ``frame_no`` and the predictions of a track are required, and ``classes`` with
        ``pred_score``. Rows may have any order. Nothing is unpickled, so the file cannot run code.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file does not hold valid predictions.
        """
        arrays = read_arrays(Path(path))
        try:
            table, source = parse_arrays(arrays)
            return cls(table.clips, table.clip_id, table.frame_no, table.columns, **source)
        except (ValueError, TypeError) as error:
            raise InvalidValueError(f'{path}: {error}; {HOW_TO_WRITE}') from error

    def write(self, path: str | os.PathLike) -> None:
        """Write a file atomically; its suffix selects the format.

        ``.npz`` holds plain arrays, such as ``np.load(path)['pred_score']``, and :meth:`read`
        accepts it. ``.pkl`` holds one dict per frame, as mmpretrain's ``tools/analysis_tools``
        read it. ``.csv`` has one row per frame.

        Raises:
            ValueError: If the suffix is unknown.
        """
        writer = find_writer(path)
        source = dict(
            classes=self.classes,
            sha256=self.sha256,
            config=self.config,
            steps=self.steps,
            balance='' if self.balance is None else self.balance.format(),
        )
        with atomic_write(path) as draft:
            writer(draft, self, source)

    def check_classes(self, classes: Sequence[str] = EXPRESSIONS, name: str = '') -> None:
        """Check that the classes are the expected ones, in the expected order.

        Args:
            classes (Sequence[str]): Expected names.
            name (str): Name of the predictions, for the message.

        Raises:
            ValueError: If they differ. The message names the first difference.
        """
        if 'pred_score' not in self.columns:
            self.check_task(('expr', 'mtl'), name)
        if self.classes == tuple(classes):
            return
        first = 0
        while self.classes[first : first + 1] == tuple(classes[first : first + 1]):
            first += 1
        got, want = (
            names[first] if first < len(names) else 'nothing' for names in (self.classes, classes)
        )
        raise InvalidValueError(
            f'{name or "predictions"}: got {len(self.classes)} classes {", ".join(self.classes)}, '
            f'expected {len(classes)}, {", ".join(classes)}; the first difference is class '
            f'{first}, {got} instead of {want}. Use predictions of a model with these classes'
        )

    def check_task(self, tasks: Sequence[str], name: str = '') -> None:
        """Check that the predictions are those of one of some tracks.

        Args:
            tasks (Sequence[str]): Tracks.
            name (str): Name of the predictions, for the message.

        Raises:
            ValueError: If they are those of another track.
        """
        if self.task not in tasks:
            raise InvalidValueError(
                f'{name or "predictions"}: got predictions of the track {self.task!r}, expected '
                f'{" or ".join(map(repr, tasks))}; use a file of this track'
            )
