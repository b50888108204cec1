"""The argument parser of all commands."""

import argparse
import sys
from typing import NoReturn

from abaw_mm.cli.report_errors import report

EXIT_STATUS = (
    'exit status: 0 done, or what was checked is in order; 1 failed, or not in order;\n'
    '2 wrong arguments; 130 interrupted (Ctrl-C); 143 ended by SIGTERM'
)


class CommandParser(argparse.ArgumentParser):
    """Argument parser that shows a tool's docstring and the exit statuses in its help.

    Args:
        doc (str): Docstring of the tool.
        *parents (argparse.ArgumentParser): Groups of arguments that several tools share, see
            :mod:`abaw_mm.cli.arguments`.
    """

    def __init__(self, doc: str | None, *parents: argparse.ArgumentParser) -> None:
        super().__init__(
            description=doc,
            parents=parents,
            epilog=EXIT_STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Report wrong arguments and exit with status 2."""
        report(f'{self.format_usage()}{self.prog}: error: {message}')
        sys.exit(2)
