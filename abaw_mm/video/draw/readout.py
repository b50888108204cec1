"""What is drawn of the predictions of a face: bars, a label, and a colour over time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageColor

from abaw_mm.datasets.annotations import PALETTE
from abaw_mm.structures.tasks import (
    ACTION_UNIT,
    ACTION_UNITS,
    AFFECTS,
    EXPRESSION,
    VALENCE_AROUSAL,
    Target,
    get_targets,
)
from abaw_mm.video.draw.text import Colour

COLOURS: list[Colour] = [ImageColor.getrgb(colour)[:3] for colour in PALETTE]
# Of valence from -1 to 1: red, grey, green; and of arousal: blue.
NEGATIVE, MIDDLE, POSITIVE = (216, 72, 60), (150, 157, 168), (64, 176, 110)
AROUSAL = (86, 156, 230)
FEW, MANY = (62, 92, 132), (108, 190, 255)  # colours of no and of all action units
STEPS = 9  # of valence in the timeline, an odd number
MAX_NAMED = 4  # units in the label of a face; more are counted
THRESHOLD = 0.5  # lowest probability of a unit that is shown as active


@dataclass(frozen=True)
class Bar:
    """A value that is drawn as a bar.

    Attributes:
        column (int): Its place among the predicted values of a face.
        name (str): Text before the bar.
        low (int): Lowest value, 0 or -1. A bar from -1 starts in the middle.
        colours (tuple[Colour, Colour]): Of values below and above 0.
    """

    column: int
    name: str
    low: int
    colours: tuple[Colour, Colour]


class Readout:
    """Choose what is drawn of the predictions of a track.

    Expressions are bars of the probabilities, valence and arousal two bars from the middle, action
    units the names of the active ones. The label at a face and its colour over time are those of
    the class; without classes, of the valence; without it, of the number of active units.

    Args:
        task (str): Track, ``'expr'``, ``'va'``, ``'au'`` or ``'mtl'``.
        classes (Sequence[str]): Names of the K classes; none for tracks without.

    Attributes:
        bars (list[Bar]): From the top down.
        units (slice | None): Columns of the action units, None without them.
        colours (list[Colour]): Of the states.

    Example:
        >>> readout = Readout('va')
        >>> readout.write_label(np.array([0.5, -0.25])), readout.find_states(np.array([[-1, 0]]))
        ('v +0.50, a −0.25', array([0]))
    """

    def __init__(self, task: str, classes: Sequence[str] = ()) -> None:
        self.classes = list(classes)
        self._columns: dict[str, slice] = {}
        start = 0
        for target in get_targets(task):
            stop = start + (len(self.classes) if target.is_class else len(target.names))
            self._columns[target.column] = slice(start, stop)
            start = stop
        palette = [COLOURS[i % len(COLOURS)] for i in range(len(self.classes))]
        self.bars: list[Bar] = []
        if EXPRESSION.column in self._columns:
            start = self._columns[EXPRESSION.column].start
            for i, (name, colour) in enumerate(zip(self.classes, palette, strict=True)):
                self.bars.append(Bar(start + i, name, 0, (colour, colour)))
        if VALENCE_AROUSAL.column in self._columns:
            start = self._columns[VALENCE_AROUSAL.column].start
            both = (NEGATIVE, POSITIVE), (AROUSAL, AROUSAL)
            for i, (name, pair) in enumerate(zip(AFFECTS, both, strict=True)):
                self.bars.append(Bar(start + i, name, -1, pair))
        self.units = self._columns.get(ACTION_UNIT.column)
        self._leading: Target = next(
            target
            for target in (EXPRESSION, VALENCE_AROUSAL, ACTION_UNIT)
            if target.column in self._columns
        )
        if self._leading == EXPRESSION:
            self.colours = palette
        elif self._leading == VALENCE_AROUSAL:
            half = np.linspace(0, 1, STEPS // 2 + 1)
            below = [_mix(NEGATIVE, MIDDLE, share) for share in half[:-1]]
            self.colours = [*below, *(_mix(MIDDLE, POSITIVE, share) for share in half)]
        else:
            self.colours = [_mix(FEW, MANY, share) for share in np.linspace(0, 1, 13)]

    def find_states(self, values: np.ndarray) -> np.ndarray:
        """Return the state of each face, (N,) int, a number of ``colours``.

        Args:
            values (ndarray): (N, K) predicted columns of the track side by side.
        """
        own = np.asarray(values)[:, self._columns[self._leading.column]]
        if not len(own):
            return np.empty(0, int)
        if self._leading == EXPRESSION:
            return own.argmax(axis=1)
        if self._leading == VALENCE_AROUSAL:
            return np.rint((own[:, 0] + 1) / 2 * (STEPS - 1)).astype(int)
        return np.count_nonzero(own >= THRESHOLD, axis=1)

    def write_label(self, values: np.ndarray) -> str:
        """Write the label of one face from its values (K,)."""
        own = values[self._columns[self._leading.column]]
        if self._leading == EXPRESSION:
            at = int(own.argmax())
            return f'{self.classes[at]} {100 * own[at]:.0f} %'
        if self._leading == VALENCE_AROUSAL:
            return f'v {write_signed(own[0])}, a {write_signed(own[1])}'
        units = self.list_units(values)
        more = f' +{len(units) - MAX_NAMED}' if len(units) > MAX_NAMED else ''
        return ' '.join(units[:MAX_NAMED]) + more or 'no unit'

    def list_units(self, values: np.ndarray) -> list[str]:
        """Return the names of the active action units of one face, none without units."""
        if self.units is None:
            return []
        active = np.flatnonzero(values[self.units] >= THRESHOLD)
        return [ACTION_UNITS[i] for i in active]


def write_signed(value: float) -> str:
    """Write a number in -1 to 1 with its sign.

    >>> write_signed(0.5), write_signed(-0.001)
    ('+0.50', '+0.00')
    """
    return f'{round(float(value), 2) + 0:+.2f}'.replace('-', '\u2212')


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    """Mix two colours."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
