"""Draw faces, what is predicted of them, and how it changes over time."""

import os
from collections.abc import Sequence
from math import ceil
from typing import Any

import cv2
import numpy as np

from abaw_mm.video.draw.readout import Bar, Readout, write_signed
from abaw_mm.video.draw.text import draw_text, fill, fit_text, measure_text
from abaw_mm.video.draw.timeline import Timeline

PAPER, INK, SOFT = (20, 22, 27), (236, 238, 241), (150, 157, 168)
GRID, EMPTY = (66, 71, 80), (40, 43, 50)
MIN_SIDE = 640  # pixels of the longer side; smaller frames are enlarged so that text is readable
MAX_SHOWN = 3  # persons with bars and a row of the timeline
WINDOW = 60.0  # seconds that the timeline shows at most
AHEAD = 0.25  # share of a window that is after the current time
DIM = 0.35  # strength of colours after the current time
# Sizes in units of 1/640 of the longer side of the frame.
PANEL, MARGIN, TITLE, TEXT = 186, 8, 20, 11
BAR_ROWS = (9, 16)  # smallest and largest height
NAMES, ROW, GAP, AXIS = 70, 12, 2, 16
VALUE = 38  # the number after a bar
UNIT_LINES, UNITS_PER_LINE = 3, 4  # of the active action units
TICKS = (1, 2, 5, 10, 20)  # seconds


class FaceDrawer:
    """Draw the faces of a video, what is predicted of them, and how it changes over time.

    The result is larger than the frame. Boxes with labels are drawn on the frame, which is at the
    top left. Beside it are, of each person, bars of class probabilities, of valence and arousal,
    and the names of the active action units. Below it are the classes, the valence or the number
    of active units over time, see :class:`Readout`.
    Bars and timeline show the three persons with the most frames. Frames below 640 pixels are
    enlarged by a whole number so that text is readable.

    The timeline shows the whole video, or a minute of it that moves on.

    Args:
        width (int): Width of the frames.
        height (int): Height of the frames.
        classes (Sequence[str]): Names of the classes; none for tracks without.
        names (Sequence[str]): Names of the persons, by the id of their face.
        timeline (Timeline, optional): States of the persons over time. Defaults to those drawn
            so far, as for a live source.
        task (str): Track of the predictions. Defaults to ``'expr'``.

    Attributes:
        size (tuple[int, int]): Width and height of the results.

    Example:
        >>> drawer = FaceDrawer(320, 240, ['Neutral', 'Happiness'])
        >>> image = np.zeros((240, 320, 3), np.uint8)
        >>> box, score = np.array([[90.0, 60, 200, 190]]), np.array([[0.2, 0.8]])
        >>> drawer.draw(image, 0.04, [0], box, score).shape[1::-1] == drawer.size
        True
    """

    def __init__(
        self,
        width: int,
        height: int,
        classes: Sequence[str],
        names: Sequence[str] = (),
        timeline: Timeline | None = None,
        task: str = 'expr',
    ) -> None:
        self.names, self.timeline = strip_stem(names), timeline
        self.readout = Readout(task, classes)
        self._rows = len(self.readout.bars) + (UNIT_LINES if self.readout.units else 0)
        self._zoom = ceil(MIN_SIDE / max(width, height)) if max(width, height) < MIN_SIDE else 1
        self._width, self._height = self._zoom * width, self._zoom * height
        self._unit = max(self._width, self._height) / 640
        smallest = TITLE + self._rows * BAR_ROWS[0] + MARGIN
        self._top = max(self._height, self._px(smallest))  # height of what is above the timeline
        persons = MAX_SHOWN if timeline is None else len(timeline.label)
        most = max(1, min(MAX_SHOWN, persons))
        self._slots = _clip(self._top // self._px(smallest), 1, most)
        total = self._top + self._px(MARGIN + self._slots * (ROW + GAP) + AXIS)
        self.size = _even(self._width + self._px(PANEL)), _even(total)
        self._colours = self.readout.colours
        self._drawn: list[tuple[float, dict[int, int]]] = []  # of a live source
        self._base = self._draw_base()

    def draw(
        self,
        image: np.ndarray,
        time: float,
        ids: Sequence[int] | np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
    ) -> np.ndarray:
        """Draw the faces of a frame.

        Args:
            image (ndarray): (height, width, 3) uint8 RGB. It is not changed.
            time (float): Time of the frame in seconds.
            ids (Sequence[int]): N ids of faces.
            boxes (ndarray): (N, 4) left, top, right and bottom in pixels of the frame.
            scores (ndarray): (N, K) predicted columns of the track side by side; for expressions
                the class probabilities.

        Returns:
            ndarray: (size[1], size[0], 3) uint8 RGB.
        """
        canvas = self._base.copy()
        picture = canvas[: self._height, : self._width]
        if self._zoom == 1:
            picture[:] = image
        else:
            cv2.resize(image, (self._width, self._height), dst=picture)
        labels = self.readout.find_states(scores) if len(ids) else np.empty(0, int)
        timeline = self.timeline or self._remember(time, ids, labels)
        shown = self._choose_persons(timeline)
        self._draw_boxes(picture, ids, self._zoom * np.asarray(boxes), scores, labels)
        rows = {int(face_id): row for row, face_id in enumerate(ids)}
        for slot, face_id in enumerate(shown):
            score = scores[rows[face_id]] if face_id in rows else None
            self._draw_bars(canvas, slot, face_id, score)
        self._draw_timeline(canvas, time, timeline, shown)
        return canvas

    def _px(self, units: float) -> int:
        return round(units * self._unit)

    def _name(self, face_id: int) -> str:
        return self.names[face_id] if face_id < len(self.names) else f'face {face_id}'

    def _remember(
        self, time: float, ids: Sequence[int] | np.ndarray, labels: np.ndarray
    ) -> Timeline:
        """Add the faces of a frame to the timeline of a live source, and return its window."""
        self._drawn.append((time, {int(i): int(k) for i, k in zip(ids, labels, strict=True)}))
        while self._drawn[0][0] < time - WINDOW:
            self._drawn.pop(0)
        persons = 1 + max((max(faces, default=-1) for _, faces in self._drawn), default=-1)
        label = np.full((persons, len(self._drawn)), -1)
        for column, (_, faces) in enumerate(self._drawn):
            for face_id, k in faces.items():
                label[face_id, column] = k
        return Timeline(np.array([at for at, _ in self._drawn]), label)

    def _choose_persons(self, timeline: Timeline) -> list[int]:
        """Return the ids of the persons with the most frames."""
        frames = (timeline.label >= 0).sum(1)
        most = np.argsort(-frames, kind='stable')[: self._slots]
        return sorted(most[frames[most] > 0].tolist())

    def _draw_base(self) -> np.ndarray:
        """Draw what does not change: names and empty bars."""
        width, height = self.size
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = PAPER
        for slot in range(self._slots):
            for k, name in enumerate(bar.name for bar in self.readout.bars):
                text, bar, y, size = self._place_bar(slot, k)
                draw_text(canvas, fit_text(name, size, bar[0] - text), text, y, size, SOFT)
                fill(canvas, bar, EMPTY)
        return canvas

    def _place_bar(self, slot: int, k: int) -> tuple[int, tuple[int, int, int, int], int, int]:
        """Return x of the text, the bar, y of the middle and the size of the font."""
        room = self._top / self._unit / self._slots - TITLE - MARGIN
        row = _clip(room / self._rows, *BAR_ROWS)
        y = self._top * slot / self._slots + (TITLE + (k + 0.5) * row) * self._unit
        left, size = self._width + self._px(MARGIN), self._px(min(TEXT, 0.9 * row))
        right = self._width + self._px(PANEL - MARGIN - VALUE)
        half = self._px(0.3 * row)
        bar = (left + self._px(66), round(y) - half, right, round(y) + half)
        return left, bar, round(y), size

    def _draw_bars(
        self, canvas: np.ndarray, slot: int, face_id: int, score: np.ndarray | None
    ) -> None:
        """Draw the name and the values of a person; None if there is no face."""
        left, bar, _, size = self._place_bar(slot, 0)
        right = self._width + self._px(PANEL - MARGIN)
        y = round(self._top * slot / self._slots) + self._px(TITLE / 2 + 1)
        size = self._px(TEXT)
        name = fit_text(self._name(face_id), size, right - left)
        draw_text(canvas, name, left, y, size, SOFT if score is None else INK)
        if score is None:
            return
        largest = max((score[bar.column] for bar in self.readout.bars if not bar.low), default=0)
        for k, kind in enumerate(self.readout.bars):
            _, bar, y, size = self._place_bar(slot, k)
            value = float(score[kind.column])
            fill(canvas, _fill_bar(bar, kind, value), kind.colours[value > 0])
            text = write_signed(value) if kind.low else f'{100 * value:.0f} %'
            colour = INK if kind.low or score[kind.column] == largest else SOFT
            draw_text(canvas, text, right, y, size, colour, align='right')
        self._draw_units(canvas, slot, score)

    def _draw_units(self, canvas: np.ndarray, slot: int, score: np.ndarray) -> None:
        """Draw the names of the active action units below the bars."""
        names = self.readout.list_units(score)
        for line in range(0, len(names), UNITS_PER_LINE):
            left, _, y, size = self._place_bar(
                slot, len(self.readout.bars) + line // UNITS_PER_LINE
            )
            for at, name in enumerate(names[line : line + UNITS_PER_LINE]):
                x = left + round(at * self._px(PANEL - 2 * MARGIN) / UNITS_PER_LINE)
                draw_text(canvas, name, x, y, size, INK)

    def _draw_boxes(
        self,
        picture: np.ndarray,
        ids: Sequence[int] | np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Draw a box and a label for each face."""
        line, edges = max(1, self._px(2)), np.round(boxes).astype(int)
        taken: list[tuple[int, ...]] = []
        for (left, top, right, bottom), k in zip(edges.tolist(), labels.tolist(), strict=True):
            corners = (left, top), (right, bottom)
            cv2.rectangle(picture, *corners, PAPER, line + 2 * max(1, line // 2))
            cv2.rectangle(picture, *corners, self._colours[k], line)
        for row, k in enumerate(labels.tolist()):
            text = self.readout.write_label(scores[row])
            if len(self.names) != 1:
                text = (
                    f'{fit_text(self._name(int(ids[row])), self._px(TEXT), self._px(70))}: {text}'
                )
            others = [*taken, *np.delete(edges, row, axis=0).tolist()]
            taken.append(self._draw_label(picture, text, k, edges[row].tolist(), others))

    def _draw_label(
        self, picture: np.ndarray, text: str, k: int, box: list[int], others: list
    ) -> tuple[int, ...]:
        """Draw the label of a face where it hides the least of the others; return its place."""
        size = self._px(TEXT)
        width, height = measure_text(text, size)
        width, pad = width + self._px(8), self._px(1)
        left, top, _, bottom = box
        x = _clip(left, 0, max(0, self._width - width))
        places = []
        for y in (top - height - pad, bottom + pad, top + pad, bottom - height - pad):
            y = _clip(y, 0, self._height - height)
            places.append((x, y, x + width, y + height))
        place = min(places, key=lambda place: sum(_overlap(place, other) for other in others))
        fill(picture, place, self._colours[k])
        is_bright = np.dot(self._colours[k], (0.299, 0.587, 0.114)) > 110
        middle = (place[1] + place[3]) // 2
        draw_text(picture, text, x + self._px(4), middle, size, PAPER if is_bright else INK)
        return place

    def _draw_timeline(
        self, canvas: np.ndarray, now: float, timeline: Timeline, shown: list[int]
    ) -> None:
        """Draw a row of colours for each person, an axis and the current time."""
        first, last = self._choose_window(now, timeline)
        margin, size = self._px(MARGIN), self._px(0.9 * TEXT)
        left, right = margin + self._px(NAMES), self.size[0] - margin
        top = self._top + margin
        time = first + (np.arange(right - left) + 0.5) / (right - left) * (last - first)
        colours = np.array([*self._colours, EMPTY], np.float32)[timeline.sample(time)]
        colours[:, time > now] = DIM * colours[:, time > now] + (1 - DIM) * np.array(PAPER)
        for row in range(self._slots):
            y = top + row * self._px(ROW + GAP)
            height = self._px(ROW)
            if row >= len(shown):
                fill(canvas, (left, y, right, y + height), EMPTY)
                continue
            canvas[y : y + height, left:right] = colours[shown[row]]
            name = fit_text(self._name(shown[row]), size, self._px(NAMES - 4))
            draw_text(canvas, name, margin, y + height // 2, size, INK)
        bottom = top + self._slots * self._px(ROW + GAP)
        x = left + round((now - first) / (last - first) * (right - left))
        fill(canvas, (x - max(1, self._px(1)), top - self._px(2), x + 1, bottom), INK)
        y = bottom + self._px(AXIS - MARGIN)
        draw_text(canvas, _format_time(now, digits=1), margin, y, size, INK)
        room = measure_text('00:00', size)[0]
        step = next((t for t in TICKS if (last - first) / t <= (right - left) / (2 * room)), 30)
        for tick in np.arange(np.ceil(first / step), last / step + 1e-9) * step:
            x = left + round((tick - first) / (last - first) * (right - left))
            fill(canvas, (x, bottom - self._px(GAP), x + 1, bottom + self._px(2)), SOFT)
            if x + room <= right:
                draw_text(canvas, _format_time(tick), x, y, size, SOFT)

    def _choose_window(self, now: float, timeline: Timeline) -> tuple[float, float]:
        """Return the first and the last time that the timeline shows."""
        if self.timeline is None:
            return now - WINDOW / 2, now
        first, last = float(timeline.time[0]), float(timeline.time[-1])
        if last - first > WINDOW:
            first = _clip(now - (1 - AHEAD) * WINDOW, first, last - WINDOW)
            last = first + WINDOW
        return first, max(last, first + 1)


def strip_stem(names: Sequence[str]) -> list[str]:
    """Leave out the name of the video, with which the names of several persons start.

    >>> strip_stem(['a_talk_left', 'a_talk_right', 'a_talk_3']), strip_stem(['a_talk'])
    (['left', 'right', '3'], ['a_talk'])
    """
    stem = os.path.commonprefix(list(names)).rpartition('_')
    start = len(stem[0] + stem[1]) if len(names) > 1 else 0
    return [name[start:] for name in names]


def _fill_bar(bar: tuple[int, int, int, int], kind: Bar, value: float) -> tuple[int, int, int, int]:
    """Return the filled part of a bar (left, top, right, bottom)."""
    left, top, right, bottom = bar
    zero, at = (
        left + round((_clip(x, kind.low, 1) - kind.low) / (1 - kind.low) * (right - left))
        for x in (0, value)
    )
    if kind.low and zero == at:
        at = zero + 1  # a line at 0
    return min(zero, at), top, max(zero, at), bottom


def _clip(value: Any, low: Any, high: Any) -> Any:
    return max(low, min(value, high))  # np.clip takes ten times as long for one number


def _even(number: int) -> int:
    return number + number % 2


def _overlap(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the area that two boxes share."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def _format_time(seconds: float, digits: int = 0) -> str:
    """Format a time.

    >>> _format_time(75), _format_time(9.96, digits=1), _format_time(-0.4)
    ('1:15', '0:10.0', '0:00')
    """
    seconds = max(0.0, round(seconds, digits))
    width = 3 + digits if digits else 2
    return f'{int(seconds // 60)}:{seconds % 60:0{width}.{digits}f}'
