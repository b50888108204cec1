"""Figures of valence and arousal."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from abaw_mm.structures.tasks import AFFECTS
from abaw_mm.visualization.report.durations import integrate
from abaw_mm.visualization.report.figures import GRID, INK, RUNS, STYLE, WIDTH, to_svg
from abaw_mm.visualization.report.timeline import MAX_COLUMNS, assign_columns, compute_range

BINS = 41  # of -1 to 1; an odd number, so that 0 is the middle of a bin
EDGES = np.linspace(-1, 1, BINS + 1)
TRUTH = '#8a93a1'  # the annotation's line
PANEL, BELOW, SIDE = 0.66, 0.3, 1.62  # inches: a dimension's height, the axis, the plane's width
SPARSE = 100  # columns; below, frames are dots as well
GAP = 0.14  # inches between valence and arousal
LEFT = 0.62  # inches before a timeline


def count_bins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Count the frames in each of 41 x 41 bins of -1 to 1.

    Args:
        x (ndarray): (F,) values in -1 to 1.
        y (ndarray): (F,) values in -1 to 1.

    Returns:
        ndarray: (41, 41) float64; ``[i, j]`` is the number of frames in bin i of y and j of x.
    """
    return np.histogram2d(y, x, bins=[EDGES, EDGES])[0]


def draw_planes(truth: np.ndarray, pred: np.ndarray, label: str) -> Markup:
    """Draw where annotations and predictions are in the plane, and against each other.

    Args:
        truth (ndarray): (F, 2) annotated valence and arousal.
        pred (ndarray): (F, 2) predicted ones.
        label (str): Description for screen readers.
    """
    panels = [
        ('annotated', truth[:, 0], truth[:, 1], AFFECTS),
        ('predicted', pred[:, 0], pred[:, 1], AFFECTS),
        *(
            (name, truth[:, i], pred[:, i], ('annotated', 'predicted'))
            for i, name in enumerate(AFFECTS)
        ),
    ]
    counts = [count_bins(x, y) for _, x, y, _ in panels]
    norm = LogNorm(1, max(2, max(int(count.max()) for count in counts)))
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH, 2.75), layout='constrained')
        for axes, (title, _, _, names), count in zip(
            figure.subplots(1, 4), panels, counts, strict=True
        ):
            shown = np.where(count > 0, count, np.nan)
            axes.imshow(
                shown,
                'Blues',
                norm=norm,
                origin='lower',
                extent=(-1, 1, -1, 1),
                interpolation='none',
            )
            axes.set(title=title, xlabel=names[0], ylabel=names[1])
            if names == AFFECTS:
                _draw_cross(axes)
            else:
                axes.plot([-1, 1], [-1, 1], color=INK, linewidth=0.7, linestyle='--')
            _limit(axes)
        return to_svg(figure, label)


def draw_affect_clip(
    frame_no: np.ndarray,
    truth: np.ndarray,
    preds: Sequence[np.ndarray],
    label: str,
) -> Markup:
    """Draw valence and arousal of a clip over its frames, and its path in the plane.

    Args:
        frame_no (ndarray): (F,) frame numbers, not decreasing.
        truth (ndarray): (F, 2) annotations.
        preds (Sequence[ndarray]): (F, 2) predictions of each run. Drawn as lines of column means,
            for a single run with a band of column ranges.
        label (str): Description for screen readers.
    """
    column, step = assign_columns(frame_no)
    ranges = [compute_range(column, pred) for pred in preds]
    ends = (frame_no[0] - 0.5, frame_no[0] - 0.5 + ranges[0].shape[2] * step)
    lines = [(compute_range(column, truth)[1], TRUTH, 1.6)]
    lines += [(x[1], RUNS[run % len(RUNS)], 0.9) for run, x in enumerate(ranges)]
    band = ranges[0][[0, 2]] if len(preds) == 1 and step > 1 else None
    with matplotlib.rc_context(STYLE):
        figure = _plot_affect(lines, ends, band)
        figure.axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        return to_svg(figure, label)


def draw_face_affect(
    start: np.ndarray,
    end: np.ndarray,
    pred: np.ndarray,
    limits: tuple[float, float],
    label: str,
) -> Markup:
    """Draw valence and arousal of a face in a video over time, and its path in the plane.

    Args:
        start (ndarray): (F,) time of each frame with the face, in seconds.
        end (ndarray): (F,) time of the frame after it.
        pred (ndarray): (F, 2) predictions.
        limits (tuple[float, float]): First and last time of the axis.
        label (str): Description for screen readers.
    """
    edges = np.linspace(*limits, MAX_COLUMNS + 1)
    seen = integrate(start, end, np.ones(len(start)), edges)
    with np.errstate(invalid='ignore'):  # 0 / 0 where the face is not seen
        mean = np.stack([integrate(start, end, column, edges) / seen for column in pred.T])
    with matplotlib.rc_context(STYLE):
        figure = _plot_affect([(mean, RUNS[0], 0.9)], limits)
        figure.axes[1].xaxis.set_major_formatter('{x:g} s')
        return to_svg(figure, label)


def _plot_affect(
    lines: Sequence[tuple[np.ndarray, str, float]],
    ends: tuple[float, float],
    band: np.ndarray | None = None,
) -> Figure:
    """Plot valence above arousal, and the path in the plane beside them.

    Args:
        lines (Sequence[tuple]): Values (2, K) of each line, NaN in gaps, its colour and width.
        ends (tuple[float, float]): Ends of the axis.
        band (ndarray, optional): (2, 2, K) lowest and highest values.
    """
    columns = lines[0][0].shape[1]
    place = ends[0] + (np.arange(columns) + 0.5) * (ends[1] - ends[0]) / columns
    seen = np.count_nonzero(~np.isnan(lines[0][0][0]))
    style = '.-' if seen < SPARSE else '-'  # a single frame has no line
    height, side = 2 * PANEL + GAP + BELOW + 0.06, 2 * PANEL + GAP
    figure = Figure((WIDTH, height))
    width = WIDTH - LEFT - SIDE - 0.45
    for row, name in enumerate(AFFECTS):
        bottom = BELOW + (1 - row) * (PANEL + GAP)
        axes = figure.add_axes((LEFT / WIDTH, bottom / height, width / WIDTH, PANEL / height))
        if band is not None:
            axes.fill_between(place, *band[:, row], color=RUNS[0], alpha=0.18, linewidth=0)
        for values, colour, thickness in lines:
            axes.plot(place, values[row], style, color=colour, linewidth=thickness, markersize=2.5)
        axes.axhline(0, color=GRID, linewidth=0.6, zorder=0)
        axes.set(xlim=ends, ylim=(-1.05, 1.05), yticks=(-1, 0, 1))
        axes.set_ylabel(name, fontsize=7)
        axes.tick_params(labelsize=6.5, pad=2.5, labelbottom=row == 1)
    plane = figure.add_axes((1 - (SIDE - 0.1) / WIDTH, BELOW / height, side / WIDTH, side / height))
    _draw_cross(plane)
    for values, colour, thickness in lines:
        known = values[:, ~np.isnan(values[0])]
        plane.plot(*values, color=colour, linewidth=thickness)
        plane.plot(*known[:, -1], 'o', color=colour, markersize=3)
    _limit(plane)
    plane.tick_params(labelsize=6.5, pad=1.5)
    plane.set_xlabel(AFFECTS[0], fontsize=7, labelpad=1)
    plane.set_ylabel(AFFECTS[1], fontsize=7, labelpad=0)
    return figure


def _draw_cross(axes: Axes) -> None:
    """Draw the axes of the plane and its unit circle."""
    axes.axhline(0, color=GRID, linewidth=0.6, zorder=0)
    axes.axvline(0, color=GRID, linewidth=0.6, zorder=0)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=GRID, linewidth=0.8, zorder=0))


def _limit(axes: Axes) -> None:
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes.set_aspect('equal')
