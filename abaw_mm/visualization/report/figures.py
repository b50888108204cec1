"""Figures of the report, as SVG elements of the page."""

import io
import os
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from abaw_mm.files import atomic_write
from abaw_mm.visualization.report.durations import integrate
from abaw_mm.visualization.report.timeline import (
    MAX_COLUMNS,
    assign_columns,
    compute_range,
    compute_row_height,
    draw_classes,
    draw_timeline,
    draw_unit_timeline,
)
from abaw_mm.visualization.report.tracks.calibration import Calibration

WIDTH = 9.6  # inches, the page's width at 72 units per inch; 7.4 inches in print
RUNS = ('#1d5ea0', '#d98c10', '#2e8b6f', '#8457a8', '#c2577a', '#5b6673')  # colours of the runs
INK, GRID = '#30363f', '#dde1e7'
STYLE: dict[Any, Any] = {
    'svg.fonttype': 'none',  # keep text as text: small, sharp and searchable
    'svg.hashsalt': 'abaw_mm',  # equal figures give equal bytes
    'text.parse_math': False,  # names of clips may contain a $
    'axes.formatter.useoffset': False,  # frame numbers are written in full
    'axes.formatter.limits': (-9, 9),
    'font.size': 8,
    'font.family': 'sans-serif',
    'axes.labelsize': 8,
    'axes.titlesize': 9,
    'axes.edgecolor': GRID,
    'axes.labelcolor': INK,
    'text.color': INK,
    'xtick.color': INK,
    'ytick.color': INK,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': False,
    'grid.color': GRID,
    'grid.linewidth': 0.6,
    'xtick.major.size': 0,
    'ytick.major.size': 0,
    'legend.frameon': False,
}
TIMELINE_LEFT, TIMELINE_RIGHT = 0.85, 0.15  # inches
PIXEL = 1 / 86  # inches per pixel of a timeline's rows
CONFIDENCE, AXIS = 0.42, 0.24  # inches of the confidence panel and of the axis below it


def to_svg(figure: Figure, label: str) -> Markup:
    """Render a figure as an ``<svg>`` element.

    Args:
        figure (Figure): Figure to render.
        label (str): Description for screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format='svg',
        transparent=True,
        metadata=dict.fromkeys(('Creator', 'Date', 'Format', 'Type')),
    )
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<g id="[^"]*"', '<g', svg)  # ids repeat in every figure
    svg = re.sub(r'<style.*?</style>', '', svg, flags=re.S)  # the page has one for all figures
    # Coordinates to 1/7200 inch. Texts are outside of tags and keep their digits. The scale of an
    # image multiplies its 700 pixels, so it keeps them, too.
    svg = re.sub(r'<(?!image)[^>]*>', lambda tag: re.sub(r'(\d\.\d\d)\d+', r'\1', tag[0]), svg)
    return Markup(svg.replace('<svg', Markup('<svg role="img" aria-label="{}"').format(label), 1))


def _make_figure(width: float, height: float) -> Figure:
    return Figure((width, height), layout='constrained')


def draw_f1(
    classes: Sequence[str],
    f1: Sequence[np.ndarray],
    intervals: Sequence[np.ndarray],
    names: Sequence[str],
) -> Markup:
    """Draw the F1 of each class with its interval, the runs side by side.

    Args:
        classes (Sequence[str]): Names of the C classes.
        f1 (Sequence[ndarray]): (C,) F1 of each run, in %.
        intervals (Sequence[ndarray]): (C, 2) interval ends of each run, in %.
        names (Sequence[str]): Names of the runs.
    """
    with matplotlib.rc_context(STYLE):
        figure = _make_figure(WIDTH, 2.6)
        axes = figure.subplots()
        width = (0.45 if len(f1) == 1 else 0.75) / len(f1)
        bars: list[Any] = []
        for run, (value, ends) in enumerate(zip(f1, intervals, strict=True)):
            place = np.arange(len(classes)) + (run - (len(f1) - 1) / 2) * width
            bars.append(
                axes.bar(place, value, 0.88 * width, color=RUNS[run % len(RUNS)], alpha=0.85)
            )
            axes.vlines(place, ends[:, 0], ends[:, 1], color=INK, linewidth=1)
        axes.set(ylabel='F1 (%)', ylim=(0, 100), xlim=(-0.6, len(classes) - 0.4))
        axes.set_xticks(range(len(classes)), classes)
        axes.grid(axis='y')
        axes.set_axisbelow(True)
        if len(f1) > 1:
            # Explicit, because a label that starts with _ would be left out.
            figure.legend(bars, names, loc='outside upper right', ncols=4)
        return to_svg(figure, 'F1 of each class')


def draw_confusion(confusion: np.ndarray, classes: Sequence[str], label: str) -> Markup:
    """Draw a confusion matrix (C, C), as counts and as percentages of each row."""
    with matplotlib.rc_context(STYLE):
        return to_svg(_plot_confusion(confusion, classes), label)


def save_confusion(confusion: np.ndarray, classes: Sequence[str], path: str | os.PathLike) -> None:
    """Write the figure of :func:`draw_confusion` to a PNG, atomically.

    Args:
        confusion (ndarray): (C, C) number of frames by label and prediction.
        classes (Sequence[str]): Names of the C classes.
        path (str): Picture to write.
    """
    with matplotlib.rc_context(STYLE), atomic_write(path) as draft:
        _plot_confusion(confusion, classes).savefig(draft, dpi=150, format='png')


def _plot_confusion(confusion: np.ndarray, classes: Sequence[str]) -> Figure:
    support = confusion.sum(axis=1, keepdims=True)
    percent = np.where(support > 0, 100 * confusion / np.maximum(support, 1), np.nan)
    counts = [[f'{x:,}' for x in row] for row in confusion]
    shares = [['–' if np.isnan(x) else f'{x:.1f}' for x in row] for row in percent]
    panels = [('frames', percent, counts), ('% of the frames with this label', percent, shares)]
    return _plot_matrices(panels, classes, 'predicted', 'labelled')


def draw_cooccurrence(units: dict[str, np.ndarray], names: Sequence[str], label: str) -> Markup:
    """Draw which action units occur together.

    Args:
        units (dict): Title to (F, U) bool, whether each unit is present.
        names (Sequence[str]): Names of the U units.
        label (str): Description for screen readers.
    """
    panels = []
    for title, present in units.items():
        percent = compute_cooccurrence(present)
        texts = [['–' if np.isnan(x) else f'{x:.0f}' for x in row] for row in percent]
        panels.append((title, percent, texts))
    with matplotlib.rc_context(STYLE):
        return to_svg(_plot_matrices(panels, names, 'also present', 'present'), label)


def compute_cooccurrence(present: np.ndarray) -> np.ndarray:
    """Compute how often units occur together.

    Args:
        present (ndarray): (F, U) bool.

    Returns:
        ndarray: (U, U); ``[i, j]`` is the share of the frames with unit i that show unit j, in %.
        NaN where unit i never occurs.

    >>> compute_cooccurrence(np.array([[True, True], [True, False]])).tolist()
    [[100.0, 50.0], [100.0, 100.0]]
    """
    both = present.T.astype(np.float64) @ present
    with np.errstate(invalid='ignore'):
        return 100 * both / both.diagonal()[:, None]


def _plot_matrices(
    panels: Sequence[tuple[str, np.ndarray, list[list[str]]]],
    names: Sequence[str],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Plot matrices side by side: title, (C, C) percentages of the shade, texts of the cells."""
    figure = _make_figure(WIDTH, 1.3 + (0.4 if len(names) < 10 else 0.28) * len(names))
    all_axes = figure.subplots(1, len(panels))
    for axes, (title, percent, texts) in zip(all_axes, panels, strict=True):
        shade = np.nan_to_num(percent)
        axes.imshow(shade, cmap='Blues', vmin=0, vmax=110, aspect='auto', interpolation='none')
        for i, row in enumerate(texts):
            for j, text in enumerate(row):
                axes.text(
                    j,
                    i,
                    text,
                    ha='center',
                    va='center',
                    fontsize=7.5,
                    color='white' if shade[i, j] > 60 else INK,
                )
        axes.set_xticks(range(len(names)), names, rotation=30, ha='right')
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel=xlabel, title=title)
        axes.spines[:].set_visible(False)
    all_axes[0].set_ylabel(ylabel)
    return figure


def draw_calibration(parts: dict[str, Calibration], label: str) -> Markup:
    """Draw reliability diagrams, each above a histogram of the confidence.

    Args:
        parts (dict): Title to calibration, one or two.
        label (str): Description for screen readers.
    """
    with matplotlib.rc_context(STYLE):
        figure = _make_figure(WIDTH / 2 * len(parts), 3.1)
        panels = figure.subplots(2, len(parts), sharex=True, squeeze=False, height_ratios=(3, 1))
        for (title, part), (axes, below) in zip(parts.items(), panels.T, strict=True):
            middle, width = (part.edges[:-1] + part.edges[1:]) / 2, part.edges[1]
            share = part.count / max(1, part.count.sum())
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle='--')
            axes.bar(
                middle,
                np.nan_to_num(part.accuracy),
                0.92 * width,
                color=RUNS[0],
                alpha=0.35,
                label='accuracy of each bin',
            )
            axes.plot(
                part.confidence,
                part.accuracy,
                'o',
                color=RUNS[0],
                markersize=3.5,
                label='at the mean confidence of the bin',
            )
            axes.set(
                title=f'{title}: expected calibration error {100 * part.error:.2f} %',
                ylim=(0, 1),
                xlim=(0, 1),
                ylabel='accuracy',
            )
            axes.legend(loc='upper left', fontsize=7)
            axes.grid()
            axes.set_axisbelow(True)
            below.bar(middle, 100 * share, 0.92 * width, color='#9aa3b0')
            below.set(xlabel='confidence', ylabel='% of frames')
        return to_svg(figure, label)


def draw_clip(
    frame_no: np.ndarray,
    truth: np.ndarray,
    tracks: Sequence[np.ndarray],
    confidences: Sequence[np.ndarray],
    classes: Sequence[str],
    label: str,
) -> Markup:
    """Draw the timeline of a clip: labels and predictions by class, confidence below.

    Args:
        frame_no (ndarray): (F,) frame numbers, increasing.
        truth (ndarray): (F,) labels.
        tracks (Sequence[ndarray]): (F,) predictions, see :func:`draw_timeline`.
        confidences (Sequence[ndarray]): (F,) confidence of each run, in 0-1. Drawn as a line of
            column means, and for a single run with a band of column ranges.
        classes (Sequence[str]): Names of the classes.
        label (str): Description for screen readers.
    """
    image, rows = draw_timeline(frame_no, truth, tracks, len(classes))
    column, step = assign_columns(frame_no)
    ranges = [compute_range(column, confidence) for confidence in confidences]
    start = frame_no[0] - 0.5
    with matplotlib.rc_context(STYLE):
        figure = _plot_timeline(
            image,
            [classes[row] for row in rows],
            compute_row_height(len(tracks)),
            (start, start + image.shape[1] * step),
            [mean for _, mean, _ in ranges],
            ranges[0][[0, 2]] if len(ranges) == 1 and step > 1 else None,
        )
        figure.axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        return to_svg(figure, label)


def draw_unit_clip(
    frame_no: np.ndarray,
    truth: np.ndarray,
    tracks: Sequence[np.ndarray],
    names: Sequence[str],
    label: str,
) -> Markup:
    """Draw the timeline of a clip: annotated and predicted action units.

    Args:
        frame_no (ndarray): (F,) frame numbers, not decreasing.
        truth (ndarray): (F, U) bool, annotated units.
        tracks (Sequence[ndarray]): (F, U) bool, predictions, see :func:`draw_unit_timeline`.
        names (Sequence[str]): Names of the U units.
        label (str): Description for screen readers.
    """
    image, rows = draw_unit_timeline(frame_no, truth, tracks)
    _, step = assign_columns(frame_no)
    start = frame_no[0] - 0.5
    with matplotlib.rc_context(STYLE):
        figure = _plot_timeline(
            image,
            [names[row] for row in rows],
            compute_row_height(len(tracks)),
            (start, start + image.shape[1] * step),
        )
        figure.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
        return to_svg(figure, label)


def draw_face(
    start: np.ndarray,
    end: np.ndarray,
    pred: np.ndarray,
    confidence: np.ndarray,
    classes: Sequence[str],
    colours: Sequence[str],
    limits: tuple[float, float],
    label: str,
) -> Markup:
    """Draw the timeline of a face in a video: predictions by class, confidence below, in seconds.

    Args:
        start (ndarray): (F,) time of each frame with the face.
        end (ndarray): (F,) time of the frame after it.
        pred (ndarray): (F,) predicted class.
        confidence (ndarray): (F,) its probability.
        classes (Sequence[str]): Names of the C classes.
        colours (Sequence[str]): Colours of the C classes.
        limits (tuple[float, float]): First and last time of the axis.
        label (str): Description for screen readers.
    """
    edges = np.linspace(*limits, MAX_COLUMNS + 1)
    seen = integrate(start, end, np.ones(len(start)), edges)
    rows = np.unique(pred).tolist()
    image = draw_classes(
        rows,
        np.stack([integrate(start, end, pred == c, edges) for c in range(len(classes))]),
        seen,
        colours,
    )
    with np.errstate(invalid='ignore'):  # 0 / 0 where the face is not seen
        mean = integrate(start, end, confidence, edges) / seen
    with matplotlib.rc_context(STYLE):
        figure = _plot_timeline(
            image, [classes[row] for row in rows], compute_row_height(1), limits, [mean], None
        )
        figure.axes[1].xaxis.set_major_formatter('{x:g} s')
        figure.axes[1].tick_params(axis='x', pad=4)  # below the 0 of the confidence
        return to_svg(figure, label)


def draw_face_units(
    start: np.ndarray,
    end: np.ndarray,
    active: np.ndarray,
    names: Sequence[str],
    limits: tuple[float, float],
    label: str,
) -> Markup:
    """Draw the timeline of a face in a video: the active action units, in seconds.

    Args:
        start (ndarray): (F,) time of each frame with the face.
        end (ndarray): (F,) time of the frame after it.
        active (ndarray): (F, U) bool, at least one unit in one frame.
        names (Sequence[str]): Names of the U units.
        limits (tuple[float, float]): First and last time of the axis.
        label (str): Description for screen readers.
    """
    edges = np.linspace(*limits, MAX_COLUMNS + 1)
    seen = integrate(start, end, np.ones(len(start)), edges)
    rows = np.flatnonzero(active.any(axis=0)).tolist()
    duration = np.stack([integrate(start, end, unit, edges) for unit in active.T])
    image = draw_classes(rows, duration, seen, [RUNS[0]] * len(names))
    with matplotlib.rc_context(STYLE):
        figure = _plot_timeline(image, [names[row] for row in rows], compute_row_height(1), limits)
        figure.axes[0].xaxis.set_major_formatter('{x:g} s')
        return to_svg(figure, label)


def _plot_timeline(
    image: np.ndarray,
    names: Sequence[str],
    row_height: int,
    ends: tuple[float, float],
    means: Sequence[np.ndarray] = (),
    band: np.ndarray | None = None,
) -> Figure:
    """Plot rows of classes, above lines of the confidence if there are any.

    Args:
        image (ndarray): (H, K, 3) picture of the rows.
        names (Sequence[str]): Names of the rows, from the top.
        row_height (int): Height of a row in pixels.
        ends (tuple[float, float]): Ends of the axis.
        means (Sequence[ndarray]): (K,) confidence of each run, in 0-1. Defaults to none.
        band (ndarray, optional): (2, K) lowest and highest confidence.
    """
    height = row_height * PIXEL
    below = AXIS + (CONFIDENCE + 0.06 if means else 0)
    total = len(names) * height + below + 0.02
    figure = Figure((WIDTH, total))
    left, width = TIMELINE_LEFT / WIDTH, 1 - (TIMELINE_LEFT + TIMELINE_RIGHT) / WIDTH
    upper = figure.add_axes((left, below / total, width, len(names) * height / total))
    upper.imshow(image, aspect='auto', interpolation='none', extent=(*ends, len(names) - 0.5, -0.5))
    upper.set_yticks(range(len(names)), names, fontsize=7)
    upper.spines[:].set_visible(False)
    if not means:
        upper.tick_params(axis='x', labelsize=7, pad=1.5)
        return figure
    upper.set_xticks([])
    lower = figure.add_axes((left, AXIS / total, width, CONFIDENCE / total))
    step = (ends[1] - ends[0]) / image.shape[1]
    middle = ends[0] + (np.arange(image.shape[1]) + 0.5) * step
    if band is not None:
        lower.fill_between(middle, *band, color=RUNS[0], alpha=0.18, linewidth=0)
    for run, mean in enumerate(means):
        lower.plot(middle, mean, color=RUNS[run % len(RUNS)], linewidth=0.9)
    lower.set(xlim=ends, ylim=(0, 1.02), yticks=(0, 0.5, 1))
    lower.set_yticklabels(['0', '', '1'], fontsize=6.5)
    lower.set_ylabel('confidence', fontsize=7, rotation=0, ha='right', va='center')
    lower.grid(axis='y')
    lower.tick_params(axis='x', labelsize=7, pad=1.5)
    return figure
