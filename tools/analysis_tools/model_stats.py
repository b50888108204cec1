#!/usr/bin/env python
"""Count the parameters and FLOPs of a config's model.

    python tools/analysis_tools/model_stats.py configs/res18_srp_affwild2.py
    python tools/analysis_tools/model_stats.py configs/res18_srp_affwild2.py \\
        --cfg-options model.backbone.frozen_stages=4 'model.neck.kernel_sizes=(1,3)'

A FLOP is a multiplication with its addition (a MAC), as in OpenMMLab's tables. Neither weights nor
data are needed.
"""

import argparse
import sys
from collections.abc import Sequence

from abaw_mm.apis import load_config, model_stats
from abaw_mm.cli import (
    CommandParser,
    cfg_options_argument,
    json_argument,
    make_console,
    make_table,
    report_errors,
)
from abaw_mm.files import write_json


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse arguments, named as those of mmpretrain's `get_flops.py`."""
    parser = CommandParser(
        __doc__, json_argument(), cfg_options_argument('model.backbone.frozen_stages=4')
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help='side, or height and width, of the image; frames and features of a window for a '
        "temporal model (default: those of the config's test set)",
    )
    args = parser.parse_args(argv)
    if args.shape is not None:
        if len(args.shape) > 2 or min(args.shape) < 1:
            parser.error(f'--shape: got {args.shape}, expected one or two numbers of pixels')
        args.shape = (args.shape[0], args.shape[-1])
    return args


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Count and print."""
    args = parse_args(argv)
    stats = model_stats(load_config(args.config, cfg_options=args.cfg_options), args.shape)
    rows = [
        (
            name,
            f'{part["trainable"] / 1e6:.3f} M',
            f'{part["total"] / 1e6:.3f} M',
            f'{part["flops"] / 1e9:.3f} G',
        )
        for name, part in (*stats['parts'].items(), ('model', stats))
    ]
    console = make_console()
    first, *others = stats['shape']
    size = dict(
        image=f'an image of {first}x{others[0]} pixels',
        window=f'a window of {first} frames with {" + ".join(map(str, others))} features each',
    )
    console.print(
        f'{args.config}, {size[stats["input"]]}; a FLOP is a multiplication with its addition'
    )
    console.print(make_table(('', 'trainable', 'parameters', 'FLOPs'), rows))
    if args.json:
        write_json(args.json, stats)


if __name__ == '__main__':
    sys.exit(main())
