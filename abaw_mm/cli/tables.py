"""Print tables and messages, and write figures as JSON."""

import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 150  # columns of a table where the output is no terminal


def make_console(stream: TextIO | None = None) -> Console:
    """Make a console for tables and plain lines, which are printed as they are.

    Args:
        stream (TextIO, optional): Where to print. Defaults to standard output.
    """
    stream = sys.stdout if stream is None else stream
    return Console(
        file=stream,
        width=None if stream.isatty() else PLAIN_WIDTH,
        soft_wrap=True,
        markup=False,
        emoji=False,  # ':100:' in a name is no emoji
        highlight=False,
    )


def make_table(
    header: Sequence[str], rows: Iterable[Sequence[Any]], left: Collection[str] | None = None
) -> Table:
    """Make a table in Markdown, which also reads well as plain text.

    Args:
        header (Sequence[str]): Names of the columns.
        rows (Iterable[Sequence]): Cells; None is shown as a dash.
        left (Collection[str], optional): Names of the columns aligned to the left. The others are
            aligned to the right. Defaults to the first column.
    """
    left = header[:1] if left is None else left
    table = Table(box=box.MARKDOWN)
    for name in header:
        table.add_column(Text(name), justify='left' if name in left else 'right', overflow='fold')
    for row in rows:
        table.add_row(*(Text('-' if cell is None else str(cell)) for cell in row))
    return table
