"""Faces in rows and their attention maps in columns, as one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image
from torch.nn import functional as F

from abaw_mm.files import atomic_write
from abaw_mm.visualization.attention.attention_maps import scaled_to_one

if TYPE_CHECKING:
    from abaw_mm.visualization.attention.explained_face import ExplainedFace

HEAT, FOR_AND_AGAINST = colormaps['inferno'], colormaps['RdBu_r']
COVER = 0.85  # of the face at a map's maximum; nothing is covered at 0
TILE, TEXT, TITLE, SCALE, GAP = 1.3, 1.9, 0.62, 0.45, 0.06  # inches
DPI = 120
INK, GREY, RIGHT, WRONG = '#222222', '#777777', '#1b7a3d', '#b3321f'
COLUMNS = {
    'attention': 'backbone:\nspatial attention',
    'own': 'APViT: by which\npatches are kept',
    'grad_cam': 'Grad-CAM of\n',
    'cells': 'cells kept by SRP:\nshare of the logit',
}


def heat_over(image: np.ndarray, heat: torch.Tensor) -> np.ndarray:
    """A face under a map of its own size: the stronger, the more it glows.

    Args:
        image (ndarray): (H, W, 3) uint8 RGB.
        heat: (h, w), 0 to 1.

    Returns:
        ndarray: (H, W, 3) uint8.
    """
    large = (
        F.interpolate(
            heat[None, None].float().cpu(), image.shape[:2], mode='bicubic', align_corners=False
        )[0, 0]
        .clamp(0, 1)
        .numpy()[..., None]
    )  # bicubic: bilinear shows crosses that are not there
    grey = image.mean(2, keepdims=True)
    mixed = grey * (1 - COVER * large) + 255 * HEAT(large[..., 0])[..., :3] * COVER * large
    return mixed.round().astype(np.uint8)


def draw_cells(
    axes: Axes,
    cells: torch.Tensor,
    edges: tuple[Sequence[float], Sequence[float]],
    size: tuple[int, int],
) -> None:
    """Colour and number each cell where it lies on a face of ``size`` (H, W) pixels."""
    values = cells.cpu().numpy()
    top = np.abs(values).max() or 1.0
    rows, columns = (np.asarray(e) * side - 0.5 for e, side in zip(edges, size, strict=True))
    axes.pcolormesh(
        columns,
        rows,
        values,
        cmap=FOR_AND_AGAINST,
        norm=Normalize(-top, top),
        alpha=0.5,
        edgecolors='white',
        linewidth=0.6,
    )
    for (i, j), value in np.ndenumerate(values):
        number = round(float(value), 2) + 0.0  # no -0.00
        axes.text(
            (columns[j] + columns[j + 1]) / 2,
            (rows[i] + rows[i + 1]) / 2,
            f'{number:+.2f}',
            ha='center',
            va='center',
            fontsize=7,
            color='black',
            path_effects=[withStroke(linewidth=1.8, foreground='white')],
        )


def draw_sheet(faces: Sequence[ExplainedFace], path: str | os.PathLike, title: str) -> None:
    """Write the contact sheet, whole or not at all.

    Args:
        faces (Sequence[ExplainedFace]): A row each, of one model; a column for each map it has.
        path: PNG to write.
        title (str): Above it all.
    """
    shown = [name for name in COLUMNS if getattr(faces[0].maps, name) is not None]
    asked = {face.explained for face in faces}
    wide = TEXT + (1 + len(shown)) * (TILE + GAP) + GAP
    high = TITLE + len(faces) * (TILE + GAP) + SCALE
    figure = Figure(figsize=(wide, high), dpi=DPI, facecolor='white')
    FigureCanvasAgg(figure)
    figure.text(GAP / wide, 1 - 0.08 / high, title, fontsize=9, color=INK, va='top')

    def place(row: int, column: int) -> Axes:
        left = TEXT + column * (TILE + GAP)
        bottom = SCALE + (len(faces) - 1 - row) * (TILE + GAP)
        axes = figure.add_axes((left / wide, bottom / high, TILE / wide, TILE / high))
        axes.set_axis_off()
        return axes

    for row, face in enumerate(faces):
        middle = (SCALE + (len(faces) - 1 - row) * (TILE + GAP) + TILE / 2) / high
        _label(figure, face, GAP / wide, middle, high)
        axes = place(row, 0)
        axes.imshow(face.image)
        if row == 0:
            axes.set_title('face, as seen', fontsize=8, color=INK)
        for column, name in enumerate(shown, 1):
            axes = place(row, column)
            if row == 0:
                heading = COLUMNS[name]
                if name == 'grad_cam':
                    heading += face.explained if len(asked) == 1 else 'the class at the left'
                axes.set_title(heading, fontsize=8, color=INK)
            maps = getattr(face.maps, name)
            if name == 'cells':
                axes.imshow(face.image.mean(2), cmap='gray', vmin=0, vmax=255)
                draw_cells(axes, maps[0], face.maps.edges, face.image.shape[:2])
            else:
                axes.imshow(heat_over(face.image, scaled_to_one(maps)[0]))
    _scales(figure, shown, wide, high)
    with atomic_write(path) as draft:
        figure.canvas.draw()
        picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')
        # 256 colours take half the bytes of all, and dithering hides the steps between them
        palette = picture.quantize(256, Image.Quantize.MAXCOVERAGE)
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(
            draft, optimize=True
        )


def _label(figure: Figure, face: ExplainedFace, x: float, middle: float, high: float) -> None:
    """Name, truth, prediction and probability at the left of a row."""
    clip, _, frame = face.name.rpartition('/')
    right = INK if face.truth is None else RIGHT if face.truth == face.predicted else WRONG
    lines = [(clip, INK, 'bold'), (frame, GREY, 'normal')]
    if face.truth is not None:
        lines.append((f'truth: {face.truth}', INK, 'normal'))
    lines.append((f'predicted: {face.predicted} {_percent(face, face.predicted)}', right, 'normal'))
    if face.explained != face.predicted:
        lines.append((f'maps of: {face.explained} {_percent(face, face.explained)}', INK, 'normal'))
    for i, (text, colour, weight) in enumerate(lines):
        y = middle + ((len(lines) - 1) / 2 - i) * 0.165 / high
        figure.text(x, y, text, fontsize=7.5, color=colour, weight=weight, va='center')


def _percent(face: ExplainedFace, name: str) -> str:
    return f'{100 * face.probabilities[name]:.0f} %'


def _scales(figure: Figure, shown: Sequence[str], wide: float, high: float) -> None:
    """A bar of colours under each column."""
    ramp = np.linspace(0, 1, 256)
    for column, name in enumerate(shown, 1):
        left = TEXT + column * (TILE + GAP)
        axes = figure.add_axes((left / wide, (SCALE - 0.2) / high, TILE / wide, 0.08 / high))
        if name == 'cells':
            colours, ends = FOR_AND_AGAINST(ramp), ('against', 'for it')
        else:
            colours, ends = HEAT(ramp), ('0', "face's maximum")
        axes.imshow(colours[None], aspect='auto')
        axes.set_axis_off()
        for x, text, side in ((left, ends[0], 'left'), (left + TILE, ends[1], 'right')):
            figure.text(
                x / wide, (SCALE - 0.25) / high, text, fontsize=6.5, color=GREY, ha=side, va='top'
            )
