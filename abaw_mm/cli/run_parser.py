"""Arguments of the commands that run a model over a config's data."""

import os
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from abaw_mm.cli.arguments import cfg_options_argument
from abaw_mm.cli.command_parser import CommandParser


class RunParser(CommandParser):
    """Arguments of training, testing and feature extraction, named as in mmpretrain's tools.

    Args:
        doc (str): Docstring of the tool.
        example (str): Example of ``--cfg-options`` for the help.
        *parents (ArgumentParser): Further arguments, see :class:`CommandParser`.
    """

    def __init__(self, doc: str | None, example: str, *parents: ArgumentParser) -> None:
        super().__init__(doc, cfg_options_argument(example), *parents)
        self.add_argument('config', help='path of the config')
        self.add_argument('--work-dir', help='folder for logs and checkpoints')
        self.add_argument('--amp', action='store_true', help='automatic mixed precision')
        self.add_argument(
            '--no-pin-memory',
            dest='pin_memory',
            action='store_false',
            help='do not pin host memory for transfers to the GPU',
        )
        self.add_argument(
            '--verbose',
            action='store_true',
            help='print the environment, the hooks and the config, which the log file has',
        )
        self.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
        self.add_argument('--local_rank', '--local-rank', type=int, default=0, help='for launchers')

    def parse(self, argv: Sequence[str] | None = None) -> dict[str, Any]:
        """Parse arguments into keywords of the API function, and export ``LOCAL_RANK``."""
        args = vars(self.parse_intermixed_args(argv))
        os.environ.setdefault('LOCAL_RANK', str(args.pop('local_rank')))
        return args
