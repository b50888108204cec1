"""Values of a row in a submission: how each track formats and checks them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import EXPRESSIONS, get_targets

INTEGER, NUMBER = r'-?[0-9]+', r'[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?'


@dataclass(frozen=True)
class ValueFormat:
    """Format of the values of a target.

    Attributes:
        noun (str): What a value is, for messages.
        kind (str): What it must be, for messages.
        pattern (str): Regular expression of a valid value.
    """

    noun: str
    kind: str
    pattern: str

    def write(self, values: np.ndarray) -> list[str]:
        """Format the values (F,) or (F, K) of each row, separated by commas."""
        if values.ndim == 1:
            return [str(value) for value in values.tolist()]
        if values.dtype.kind == 'f':
            return [','.join(f'{value:.6f}' for value in row) for row in values.tolist()]
        return [','.join(map(str, row)) for row in values.tolist()]


FORMATS = {
    'label': ValueFormat('class', 'an integer', INTEGER),
    'va': ValueFormat('valence or arousal', 'a number', NUMBER),
    'au': ValueFormat('action unit', 'an integer', INTEGER),
}


def count_values(task: str) -> int:
    """Return the number of values of a row.

    >>> [count_values(task) for task in ('expr', 'va', 'au', 'mtl')]
    [1, 2, 12, 15]
    """
    return sum(1 if target.is_class else len(target.names) for target in get_targets(task))


def format_rows(table: FrameTable, task: str) -> list[str]:
    """Format the values of each row; those of the multi-task track end in a comma.

    Args:
        table (FrameTable): Table with the columns of the targets, such as ``va``.
        task (str): Track.

    >>> table = FrameTable.from_rows(['a'], [1], va=np.float32([[1, -0.5]]))
    >>> format_rows(table, 'va')
    ['1.000000,-0.500000']
    """
    parts = [FORMATS[t.column].write(table[t.column]) for t in get_targets(task)]
    if len(parts) == 1:
        return parts[0]
    return [','.join((*row, '')) for row in zip(*parts, strict=True)]


def check_values(rows: Sequence[tuple[int, Sequence[str]]], task: str) -> list[str]:
    """Return the problems of the values in numbered rows.

    Args:
        rows (Sequence): Line number and values (K,) of each row.
        task (str): Track.
    """
    problems, start = [], 0
    for target in get_targets(task):
        form, (low, high) = FORMATS[target.column], target.limits
        stop = start + (1 if target.is_class else len(target.names))
        odd, beyond = [], []
        for number, values in rows:
            for value in values[start:stop]:
                if not re.fullmatch(form.pattern, value):
                    odd.append((number, value))
                elif not low <= float(value) <= high:
                    beyond.append((number, value))
        expected = f'{low}..{high}'
        if odd:
            what = f'whose {form.noun} is not {form.kind}'
            problems.append(describe_lines(odd, what, expected))
        if beyond:
            what = f'with a {form.noun} out of range'
            problems.append(describe_lines(beyond, what, expected))
        start = stop
    return problems


def parse_values(text: str, task: str, flag: str) -> dict[str, np.ndarray]:
    """Parse the values of one row, as in a submission, for each target; classes by name, too.

    Args:
        text (str): Values separated by commas.
        task (str): Track.
        flag (str): Flag of a command, for the message.

    Raises:
        ValueError: If the number of values is another, or one is not valid.

    >>> parse_values('0,-0.5', 'va', '--empty-clip')['va'].tolist()
    [0.0, -0.5]
    """
    names = {name: str(index) for index, name in enumerate(EXPRESSIONS)}
    values = [names.get(value, value) for value in text.removesuffix(',').split(',')]
    count = count_values(task)
    if len(values) != count or check_values([(1, values)], task):
        raise InvalidValueError(
            f'{flag}: got {text!r}, expected {count} values as in a row of a submission of the '
            f'track {task!r}, separated by commas, such as {",".join("0" * count)}'
        )
    parsed: dict[str, np.ndarray] = {}
    start = 0
    for target in get_targets(task):
        stop = start + (1 if target.is_class else len(target.names))
        part: np.ndarray = np.array(values[start:stop], np.float64).astype(target.dtype)
        parsed[target.column] = part[0] if target.is_class else part
        start = stop
    return parsed


def describe_lines(lines: Sequence[tuple[int, str]], what: str, expected: str) -> str:
    """Count lines with the same problem in one sentence and quote the first three."""
    size = len({number for number, _ in lines})
    count = '1 line' if size == 1 else f'{size} lines'
    first = ', '.join(f'line {number}: {shorten_text(text)}' for number, text in lines[:3])
    return f'{count} {what}, expected {expected}: {first}' + (', ...' if len(lines) > 3 else '')
