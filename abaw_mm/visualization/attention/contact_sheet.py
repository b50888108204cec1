"""Draw faces in rows and their attention maps in columns, as one picture."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image
from torch.nn import functional as F

from abaw_mm.files import atomic_write
from abaw_mm.visualization.attention.attention_maps import normalize_maps
from abaw_mm.visualization.attention.explained_face import ExplainedFace
from abaw_mm.visualization.image_grid import fit_text

HEAT, FOR_AND_AGAINST = colormaps['inferno'], colormaps['RdBu_r']
COVER = 0.85  # opacity of the map at its maximum; it is transparent at 0
TILE, TEXT, TITLE, SCALE, GAP = 1.3, 1.9, 0.62, 0.45, 0.06  # inches
INSET = 0.12  # inches from each end of a colour bar to the edge of its column
DPI = 120
INK, GREY, RIGHT, WRONG = '#222222', '#777777', '#1b7a3d', '#b3321f'
COLUMNS = {
    'attention': 'backbone:\nspatial attention',
    'own': 'APViT: attention that\nselects patches',
    'grad_cam': 'Grad-CAM of\n',
    'cells': 'cells kept by SRP:\nshare of the logit',
}


def overlay_heat(image: np.ndarray, heat: torch.Tensor) -> np.ndarray:
    """Overlay a map on a face in grey.

    Args:
        image (ndarray): (H, W, 3) uint8 RGB.
        heat (Tensor): (h, w) map in 0-1, which is resized to the face.

    Returns:
        ndarray: (H, W, 3) uint8.
    """
    large = (
        F.interpolate(
            heat[None, None].float().cpu(), image.shape[:2], mode='bicubic', align_corners=False
        )[0, 0]
        .clamp(0, 1)
        .numpy()[..., None]
    )  # bicubic, because bilinear shows false crosses
    grey = image.mean(2, keepdims=True)
    mixed = grey * (1 - COVER * large) + 255 * HEAT(large[..., 0])[..., :3] * COVER * large
    return mixed.round().astype(np.uint8)


def draw_cells(
    axes: Axes,
    cells: torch.Tensor,
    edges: tuple[Sequence[float], Sequence[float]],
    size: tuple[int, int],
) -> None:
    """Draw the contribution of each cell at its place on a face.

    Args:
        axes (Axes): Axes that show the face.
        cells (Tensor): (h, w) contributions.
        edges (tuple): Edges of the rows and columns of cells, as fractions of height and width.
        size (tuple): Height and width of the face, in pixels.
    """
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
        number = round(float(value), 2) + 0.0  # avoid -0.00
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


@rc_context({'text.parse_math': False})  # names may contain a $
def draw_sheet(faces: Sequence[ExplainedFace], path: str | os.PathLike, title: str) -> None:
    """Write the contact sheet atomically, with one row per face and one column per map.

    Args:
        faces (Sequence[ExplainedFace]): Faces explained with the same model.
        path (str): PNG to write.
        title (str): Title above the sheet.
    """
    shown = [name for name in COLUMNS if getattr(faces[0].maps, name) is not None]
    explained = {face.explained for face in faces}
    wide = TEXT + (1 + len(shown)) * (TILE + GAP) + GAP
    high = TITLE + len(faces) * (TILE + GAP) + SCALE
    figure = Figure(figsize=(wide, high), dpi=DPI, facecolor='white')
    canvas = FigureCanvasAgg(figure)
    figure.text(GAP / wide, 1 - 0.08 / high, title, fontsize=9, color=INK, va='top')

    def add_axes(row: int, column: int) -> Axes:
        left = TEXT + column * (TILE + GAP)
        bottom = SCALE + (len(faces) - 1 - row) * (TILE + GAP)
        axes = figure.add_axes((left / wide, bottom / high, TILE / wide, TILE / high))
        axes.set_axis_off()
        return axes

    for row, face in enumerate(faces):
        middle = (SCALE + (len(faces) - 1 - row) * (TILE + GAP) + TILE / 2) / high
        _draw_label(figure, face, GAP / wide, middle, high)
        axes = add_axes(row, 0)
        axes.imshow(face.image)
        if row == 0:
            axes.set_title('network input', fontsize=8, color=INK)
        for column, name in enumerate(shown, 1):
            axes = add_axes(row, column)
            if row == 0:
                heading = COLUMNS[name]
                if name == 'grad_cam':
                    heading += face.explained if len(explained) == 1 else 'the class on the left'
                axes.set_title(heading, fontsize=8, color=INK)
            maps = getattr(face.maps, name)
            if name == 'cells' and face.maps.edges is not None:
                axes.imshow(face.image.mean(2), cmap='gray', vmin=0, vmax=255)
                draw_cells(axes, maps[0], face.maps.edges, face.image.shape[:2])
            else:
                axes.imshow(overlay_heat(face.image, normalize_maps(maps)[0]))
                if not maps.any():
                    _write_empty(axes, name, face.explained)
    _draw_scales(figure, shown, wide, high)
    with atomic_write(path) as draft:
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert('RGB')
        # 256 colours halve the file size; dithering hides the steps between them.
        palette = picture.quantize(256, Image.Quantize.MAXCOVERAGE)
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(
            draft, optimize=True
        )


def _write_empty(axes: Axes, name: str, explained: str) -> None:
    """Say on a tile that its map is zero everywhere."""
    text = f'0 everywhere:\nno evidence for\n{explained}' if name == 'grad_cam' else '0 everywhere'
    outline = [withStroke(linewidth=1.8, foreground='white')]
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha='center',
        va='center',
        fontsize=7.5,
        color=INK,
        path_effects=outline,
    )


def _draw_label(figure: Figure, face: ExplainedFace, x: float, middle: float, high: float) -> None:
    """Write name, label, prediction and probability to the left of a row."""
    clip, _, frame = face.name.rpartition('/')
    colour = INK if face.truth is None else RIGHT if face.truth == face.predicted else WRONG
    lines = [(clip, INK, 'bold'), (frame, GREY, 'normal')]
    if face.truth is not None:
        lines.append((f'label: {face.truth}', INK, 'normal'))
    predicted = f'predicted: {face.predicted} {_format_percent(face, face.predicted)}'
    lines.append((predicted, colour, 'normal'))
    if face.explained != face.predicted:
        explained = f'maps of: {face.explained} {_format_percent(face, face.explained)}'
        lines.append((explained, INK, 'normal'))
    for i, (text, colour, weight) in enumerate(lines):
        y = middle + ((len(lines) - 1) / 2 - i) * 0.165 / high
        line = figure.text(x, y, text, fontsize=7.5, color=colour, weight=weight, va='center')
        # So that a long name ends before the face.
        fit_text(line, (TEXT - 2 * GAP) * DPI)


def _format_percent(face: ExplainedFace, name: str) -> str:
    return f'{100 * face.probabilities[name]:.0f} %'


def _draw_scales(figure: Figure, shown: Sequence[str], wide: float, high: float) -> None:
    """Draw a colour bar under each column."""
    ramp = np.linspace(0, 1, 256)
    for column, name in enumerate(shown, 1):
        left = TEXT + column * (TILE + GAP)
        left, right = left + INSET, left + TILE - INSET  # so that labels of neighbours stay apart
        axes = figure.add_axes(
            (left / wide, (SCALE - 0.2) / high, (right - left) / wide, 0.08 / high)
        )
        if name == 'cells':
            colours, ends = FOR_AND_AGAINST(ramp), ('against', 'for')
        else:
            colours, ends = HEAT(ramp), ('0', 'maximum')
        axes.imshow(colours[None], aspect='auto')
        axes.set_axis_off()
        for x, text, side in ((left, ends[0], 'left'), (right, ends[1], 'right')):
            figure.text(
                x / wide, (SCALE - 0.25) / high, text, fontsize=6.5, color=GREY, ha=side, va='top'
            )
