#!/usr/bin/env python
"""Count trainable and total parameters and the FLOPs of a config's model.

    python tools/analysis_tools/model_stats.py configs/res18_srp_affwild2.py
    python tools/analysis_tools/model_stats.py configs/res18_srp_affwild2.py \
        --cfg-options model.backbone.frozen_stages=4 'model.neck.kernel_sizes=(1,3)'

A FLOP is a multiplication with its addition, as in OpenMMLab's tables (elsewhere: MAC). Weights
are neither read nor downloaded, data need not be there.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from mmengine.config import DictAction
from rich import box
from rich.console import Console
from rich.table import Table

from abaw_mm.apis import (
    load_config,
    model_stats,
)
from abaw_mm.files import atomic_write

PLAIN_WIDTH = 100  # columns where the output is no terminal


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Flags, named as those of mmpretrain's `get_flops.py`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help="side, or height and width, of the image (default: what the config's pipeline makes)",
    )
    parser.add_argument('--json', metavar='FILE', help='write the figures there, too')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='overrides of the config, e.g. model.backbone.frozen_stages=4',
    )
    args = parser.parse_args(argv)
    if args.shape is not None:
        if len(args.shape) > 2 or min(args.shape) < 1:
            parser.error(f'--shape: got {args.shape}, expected one or two numbers of pixels')
        args.shape = (args.shape[0], args.shape[-1])
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print."""
    args = parse_args(argv)
    stats = model_stats(load_config(args.config, cfg_options=args.cfg_options), args.shape)
    grid = Table(box=box.MARKDOWN)
    for name in ('', 'trainable', 'parameters', 'FLOPs'):
        grid.add_column(name, justify='right' if name else 'left')
    for name, part in (*stats['parts'].items(), ('model', stats)):
        grid.add_row(
            name,
            f'{part["trainable"] / 1e6:.3f} M',
            f'{part["total"] / 1e6:.3f} M',
            f'{part["flops"] / 1e9:.3f} G',
        )
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(
        f'{args.config}, an image of {stats["shape"][0]}x{stats["shape"][1]} pixels; '
        'a FLOP is a multiplication with its addition',
        soft_wrap=True,
    )
    console.print(grid)
    if args.json:
        with atomic_write(args.json) as draft:
            draft.write_text(json.dumps(stats, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
