"""The steps that predictions have gone through, such as ``('tau 0.5', 'smooth box 50')``.

A width of smoothing is in frames, or in seconds as in ``'smooth box 1s'``. A mean has weights
unless they are equal, as in ``'mean of 2 weights 0.75 0.25'``. A gate has the threshold of
confidence, a bias one number per class, a threshold one probability per action unit.
"""

import re
from collections.abc import Sequence

from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.structures.tasks import ACTION_UNITS

ORDER = ('mean', 'gate', 'tau', 'smooth', 'bias', 'hold', 'threshold')  # each at most once
EXAMPLE = "'mean of 2', 'tau 0.5', 'smooth box 50', 'hold 10'"
NUMBER = r'[-+.\w]+'
STEP = re.compile(
    rf'mean of \d{{1,9}}( weights( {NUMBER})+)?|gate {NUMBER}|tau {NUMBER}|'
    rf'smooth \w+ (\d{{1,9}}|\d{{1,9}}(\.\d{{1,6}})?s)|bias( {NUMBER})+|hold \d{{1,9}}|'
    rf'threshold( {NUMBER})+',
    re.ASCII,
)


def check_steps(steps: Sequence[str]) -> None:
    """Raise ValueError unless steps are known ones, each once and in their order."""
    kinds = [step.partition(' ')[0] for step in steps]
    in_order = kinds == [kind for kind in ORDER if kind in kinds]
    if not in_order or not all(map(STEP.fullmatch, steps)):
        raise InvalidValueError(
            f'got the steps {shorten(list(steps))}, expected some such as {EXAMPLE}, each once and '
            'in this order'
        )


def add_step(steps: Sequence[str], step: str) -> tuple[str, ...]:
    """Append a step.

    Raises:
        ValueError: If this step or a later one was applied before. Smoothing twice is a wider
            smoothing that no one chose, and correcting the prior twice counts it twice.

    >>> add_step(('mean of 2',), 'smooth box 50')
    ('mean of 2', 'smooth box 50')
    """
    kind = step.partition(' ')[0]
    later = [s for s in steps if ORDER.index(s.partition(' ')[0]) >= ORDER.index(kind)]
    if later:
        raise InvalidValueError(
            f'{step}: got predictions after {shorten(later)}, expected none after {kind!r} or a '
            f'later step ({", ".join(ORDER)}); start from the file that tools/test.py wrote, and '
            'give all steps in one command'
        )
    return (*steps, step)


def find_hold(steps: Sequence[str]) -> int:
    """Return the minimum duration of a class in frames, 0 without the step.

    >>> find_hold(('smooth box 50', 'hold 10'))
    10
    """
    return next((int(step.split()[1]) for step in steps if step.startswith('hold ')), 0)


def find_thresholds(steps: Sequence[str]) -> tuple[float, ...]:
    """Return the lowest probability of 'present' for each action unit, 0.5 without the step.

    >>> find_thresholds(())[:2]
    (0.5, 0.5)
    """
    for step in steps:
        if step.startswith('threshold '):
            return tuple(map(float, step.split()[1:]))
    return (0.5,) * len(ACTION_UNITS)
