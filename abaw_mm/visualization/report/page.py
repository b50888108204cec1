"""Render the pages of reports from their templates."""

import base64
import io
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from abaw_mm.version import __version__

SIZE = 112  # pixels of a thumbnail's longer side, which is the size of the crops
QUALITY = 82  # of the JPEG, in 0-100


def render_page(template: str, **values: object) -> str:
    """Render a template of this folder as a page that loads nothing else.

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
    environment.filters['points'] = lambda x: f'{x:.2f}'
    environment.filters['signed'] = lambda x: (
        f'{x:+.2f}'.replace('-', '\u2212') if round(x, 2) else '0.00'
    )
    environment.filters['count'] = lambda x: f'{x:,}'
    environment.filters['clock'] = format_time
    return environment.get_template(template).render(version=__version__, **values)


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
