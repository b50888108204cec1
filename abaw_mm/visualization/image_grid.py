"""Put images into a grid with headings and captions."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

DPI, GAP, LINE = 100, 6, 13  # GAP and LINE in pixels; LINE is the height of a line of text
INK = '#222222'
SMALLEST = 3.0  # points


def fit_text(text: Text, width: float) -> None:
    """Make a text smaller until it fits into a number of pixels."""
    size = float(text.get_fontsize())
    while text.get_window_extent().width > width and size > SMALLEST:
        size *= 0.95
        text.set_fontsize(size)


@rc_context({'text.parse_math': False})  # names may contain a $
def draw_image_grid(
    images: Sequence[Sequence[np.ndarray]],
    headings: Sequence[str] = (),
    captions: Sequence[Sequence[str]] | None = None,
) -> np.ndarray:
    """Draw rows of images of one size, at their own size.

    Args:
        images (Sequence): Rows of images, each (H, W, 3) uint8 RGB.
        headings (Sequence[str]): Text above each column.
        captions (Sequence, optional): Text below each image, in the order of ``images``; may have
            several lines. Long lines are made smaller.

    Returns:
        ndarray: (H, W, 3) uint8 RGB.
    """
    captions = captions or [[''] * len(row) for row in images]
    lines = max(text.count('\n') + bool(text) for row in captions for text in row)
    tile_height, tile_width = images[0][0].shape[:2]
    step = tile_height + lines * LINE + GAP
    top = LINE + GAP if headings else 0
    height = top + len(images) * step + GAP
    width = max(map(len, images)) * (tile_width + GAP) + GAP
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor='white')
    canvas = FigureCanvasAgg(figure)
    sheet = np.full((height, width, 3), 255, np.uint8)

    def write(text: str, column: int, y: float) -> None:
        x = GAP + column * (tile_width + GAP)
        line = figure.text(x / width, 1 - y / height, text, fontsize=7.5, color=INK, va='top')
        fit_text(line, tile_width)

    for column, heading in enumerate(headings):
        write(heading, column, GAP)
    places = []
    for i, (row, texts) in enumerate(zip(images, captions, strict=True)):
        y = GAP + top + i * step
        for column, (image, text) in enumerate(zip(row, texts, strict=True)):
            x = GAP + column * (tile_width + GAP)
            places.append((y, x, image))
            write(text, column, y + tile_height + 2)
    canvas.draw()
    sheet[:] = np.asarray(canvas.buffer_rgba())[:height, :width, :3]
    for y, x, image in places:
        sheet[y : y + tile_height, x : x + tile_width] = image
    return sheet
