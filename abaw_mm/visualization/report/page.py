"""Render the pages of reports from their templates."""

import base64
import io
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from abaw_mm.version import __version__

SIZE = 112  # pixels of a thumbnail's longer side, which is the size of the crops
QUALITY = 82  # of the JPEG, in 0-100


def render_page(template: str, **values: object) -> Markup:
    """Render a template of this folder: a page that loads nothing else, or a part of one.

    Args:
        template (str): Name of the file.
        **values: Variables of the template.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['points'] = format_number
    environment.filters['signed'] = format_change
    environment.filters['count'] = lambda x: f'{x:,}'
    environment.filters['clock'] = format_time
    return Markup(environment.get_template(template).render(version=__version__, **values))


def format_number(value: float, digits: int = 2) -> str:
    """Format a number with a minus sign of the width of a plus.

    >>> format_number(3.14159), format_number(-0.0001, 3)
    ('3.14', '0.000')
    """
    return f'{round(value, digits) + 0:.{digits}f}'.replace('-', '\u2212')


def format_change(value: float, digits: int = 2) -> str:
    """Format a difference with its sign.

    >>> format_change(0.5), format_change(-0.001)
    ('+0.50', '0.00')
    """
    return ('+' if round(value, digits) > 0 else '') + format_number(value, digits)


def format_time(seconds: float) -> str:
    """Format a time, from a minute on also as players show it.

    >>> format_time(3.14159), format_time(75.5)
    ('3.14 s', '75.50 s (1:15)')
    """
    minutes, rest = divmod(int(seconds), 60)
    return f'{seconds:.2f} s' + (f' ({minutes}:{rest:02d})' if minutes else '')


def make_thumbnail(picture: np.ndarray) -> str:
    """Make a small JPEG of a picture (H, W, 3) uint8 RGB, as a data URL."""
    image = Image.fromarray(picture)
    image.thumbnail((SIZE, SIZE))
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=QUALITY)
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode()
