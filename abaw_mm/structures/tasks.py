"""The tracks of the challenge: what is annotated per frame, and how it is named in tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abaw_mm.errors import InvalidValueError

EXPRESSIONS = (
    'Neutral',
    'Anger',
    'Disgust',
    'Fear',
    'Happiness',
    'Sadness',
    'Surprise',
    'Other',
)  # order of the official annotation files
AFFECTS = ('valence', 'arousal')
ACTION_UNITS = (
    'AU1',
    'AU2',
    'AU4',
    'AU6',
    'AU7',
    'AU10',
    'AU12',
    'AU15',
    'AU23',
    'AU24',
    'AU25',
    'AU26',
)  # order of the official annotation files
UNLABELLED = -1  # 'not annotated' in the official files; also stands for hidden labels


@dataclass(frozen=True)
class Target:
    """One kind of annotation of a frame.

    Attributes:
        column (str): Column of a :class:`FrameTable` of annotations. Data samples and predictions
            prefix it with ``gt_``.
        prediction (str): Column of what a model predicts: (F, K) float32.
        names (tuple[str]): Names of the K classes, dimensions or action units.
        limits (tuple[int, int]): Lowest and highest value, annotated or predicted; of a class, its
            number.
        hidden (int): Value that marks a frame as not annotated, in each of its columns.
        dtype (type): Of the column: (F,) if ``is_class``, else (F, K).
        is_class (bool): Whether the annotation is one of the names, not a value for each.
    """

    column: str
    prediction: str
    names: tuple[str, ...]
    limits: tuple[int, int]
    hidden: int
    dtype: type
    is_class: bool = False

    @property
    def ground_truth(self) -> str:
        """Name of the annotation in data samples and predictions."""
        return f'gt_{self.column}'

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame's annotation: () or (K,)."""
        return () if self.is_class else (len(self.names),)

    @property
    def expected(self) -> str:
        """What the values of an annotation must be, for messages.

        >>> VALENCE_AROUSAL.expected
        '2 numbers in -1..1, or -5 where not annotated'
        """
        kind = 'number' if self.dtype is np.float32 else 'integer'
        count = f'an {kind}' if self.is_class else f'{len(self.names)} {kind}s'
        low, high = self.limits
        return f'{count} in {low}..{high}, or {self.hidden} where not annotated'

    def is_in_range(self, values: np.ndarray) -> np.ndarray:
        """Return which values are within the limits, bool in their shape.

        >>> ACTION_UNIT.is_in_range(np.array([0.5, 1, -1])).tolist()
        [True, True, False]
        """
        low, high = self.limits
        return (values >= low) & (values <= high)

    def is_annotated(self, values: np.ndarray) -> np.ndarray:
        """Return which frames are annotated in all parts, (F,) bool.

        Args:
            values (ndarray): (F,) or (F, K) annotations.

        >>> VALENCE_AROUSAL.is_annotated(np.array([[0.5, -1], [-5, 0.5]]))
        array([ True, False])
        """
        known = np.asarray(values) != self.hidden
        return known if known.ndim == 1 else known.all(axis=1)


EXPRESSION = Target(
    'label',
    'pred_score',
    EXPRESSIONS,
    (0, len(EXPRESSIONS) - 1),
    UNLABELLED,
    np.int8,
    is_class=True,
)
VALENCE_AROUSAL = Target('va', 'pred_va', AFFECTS, (-1, 1), -5, np.float32)
ACTION_UNIT = Target('au', 'pred_au', ACTION_UNITS, (0, 1), UNLABELLED, np.int8)

# What each track annotates, in the order of the multi-task annotation files.
TASKS = {
    'expr': (EXPRESSION,),
    'va': (VALENCE_AROUSAL,),
    'au': (ACTION_UNIT,),
    'mtl': (VALENCE_AROUSAL, EXPRESSION, ACTION_UNIT),
}


def get_targets(task: str) -> tuple[Target, ...]:
    """Return what a track annotates.

    Args:
        task (str): ``'expr'``, ``'va'``, ``'au'`` or ``'mtl'``.

    Raises:
        ValueError: If there is no such track.

    >>> [target.column for target in get_targets('mtl')]
    ['va', 'label', 'au']
    """
    if task not in TASKS:
        raise InvalidValueError(f'got the task {task!r}, expected one of {", ".join(TASKS)}')
    return TASKS[task]


def find_task(columns: Sequence[str]) -> str:
    """Return the track whose predictions or annotations are among columns of a table.

    Args:
        columns (Sequence[str]): Names of columns, such as ``pred_va`` or ``gt_label``.

    Raises:
        ValueError: If they are those of no track.

    >>> find_task(['gt_au', 'pred_au']), find_task(['pred_score', 'pred_va', 'pred_au'])
    ('au', 'mtl')
    """
    present = {
        target.column
        for target in TASKS['mtl']
        if {target.column, target.ground_truth, target.prediction} & set(columns)
    }
    for task, targets in TASKS.items():
        if present == {target.column for target in targets}:
            return task
    raise InvalidValueError(
        f'got the columns {", ".join(columns)}, expected those of one track: '
        + ', or '.join(' and '.join(t.prediction for t in targets) for targets in TASKS.values())
    )
