"""Draw text and rectangles on pictures."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
FONT = Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf')


@lru_cache(256)
def _load_font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), size)


@lru_cache(1024)
def _render_glyph(character: str, size: int) -> np.ndarray:
    """Return the opacity of a character, (H, W) float32 in 0-1.

    The height depends on the size of the font alone, so that the base lines of texts agree.
    """
    font = _load_font(size)
    ascent, descent = font.getmetrics()
    picture = Image.new('L', (max(1, round(font.getlength(character))), ascent + descent))
    ImageDraw.Draw(picture).text((0, 0), character, fill=255, font=font)
    return np.asarray(picture, np.float32) / 255


def _render(text: str, size: int) -> np.ndarray:
    """Return the opacity of a line of text, (H, W, 1) float32 in 0-1.

    Whole texts are not cached: a time that is kept for each frame would be placed between the
    frames in memory, where the allocator could not use the gaps again.
    """
    glyphs = [_render_glyph(character, size) for character in text or ' ']
    return np.concatenate(glyphs, axis=1)[..., None]


def measure_text(text: str, size: int) -> tuple[int, int]:
    """Return the width and the height of a line of text in pixels."""
    height, width = _render(text, size).shape[:2]
    return width, height


@lru_cache(256)
def fit_text(text: str, size: int, width: int) -> str:
    """Shorten a text from its start until it fits into a number of pixels.

    Names of persons differ at their ends.

    >>> fit_text('a long name of a video_left', 10, 70)
    '…a video_left'
    """
    kept = text
    while kept and measure_text(shown := kept if kept == text else f'…{kept}', size)[0] > width:
        kept = kept[1:]
    return shown if kept else ''


def draw_text(
    image: np.ndarray, text: str, x: int, y: int, size: int, colour: Colour, align: str = 'left'
) -> None:
    """Draw a line of text in place; what is outside of the picture is cut off.

    Args:
        image (ndarray): (H, W, 3) uint8 RGB.
        text (str): One line.
        x (int): Left end of the text, or its right end if ``align`` is ``'right'``.
        y (int): Middle of the line.
        size (int): Size of the font in pixels.
        colour (tuple[int, int, int]): RGB.
        align (str): ``'left'`` or ``'right'``.
    """
    mask = _render(text, size)
    left = x - mask.shape[1] if align == 'right' else x
    top = y - mask.shape[0] // 2
    height, width = image.shape[:2]
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + mask.shape[0], height), min(left + mask.shape[1], width)
    if y1 > y0 and x1 > x0:
        mask = mask[y0 - top : y1 - top, x0 - left : x1 - left]
        part = image[y0:y1, x0:x1]
        part[:] = part + mask * (np.array(colour, np.float32) - part) + 0.5


def fill(image: np.ndarray, box: tuple[int, int, int, int], colour: Colour) -> None:
    """Fill a rectangle (left, top, right, bottom) in place."""
    left, top, right, bottom = (max(edge, 0) for edge in box)
    image[top:bottom, left:right] = colour
