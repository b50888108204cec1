"""Flags that training and testing have in common."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction

from abaw_mm.cli.report_errors import first_to_fail


class _CfgOptions(DictAction):
    """mmengine's action, whose errors become those of wrong flags."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        for value in values:
            if not value.split('=')[0] or '=' not in value:
                raise argparse.ArgumentError(
                    self,
                    f'got {value!r}, expected KEY=VALUE without spaces, such as '
                    'train_cfg.max_iters=100',
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:  # brackets that do not match
            raise argparse.ArgumentError(self, f'{error}; quote a value with brackets') from error


class ToolParser(argparse.ArgumentParser):
    """Flags named as those of mmpretrain's own tools; of several processes one tells of wrong ones.

    Args:
        description (str): Of the tool.
        example (str): A value for ``--cfg-options``, for its help.
    """

    def __init__(self, description: str, example: str) -> None:
        super().__init__(description=description)
        self.add_argument('config', help='path of the config')
        self.add_argument('--work-dir', help='folder for logs and checkpoints')
        self.add_argument('--amp', action='store_true', help='automatic mixed precision')
        self.add_argument('--no-pin-memory', dest='pin_memory', action='store_false')
        self.add_argument(
            '--cfg-options',
            nargs='+',
            action=_CfgOptions,
            metavar='KEY=VALUE',
            help=f'overrides of the config, e.g. {example}',
        )
        self.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
        self.add_argument('--local_rank', '--local-rank', type=int, default=0, help='for launchers')

    def parse(self, argv: Sequence[str] | None = None) -> dict[str, Any]:
        """The flags as arguments of a function; the launcher's rank goes to the environment."""
        args = vars(self.parse_args(argv))
        os.environ.setdefault('LOCAL_RANK', str(args.pop('local_rank')))
        return args

    def error(self, message: str) -> None:
        """Leave with status 2 after use and message."""
        if not first_to_fail():
            sys.exit(2)
        super().error(message)
