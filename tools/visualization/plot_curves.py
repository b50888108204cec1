#!/usr/bin/env python
"""Draw the curves of trainings: loss, learning rate and scores over the steps.

    python tools/visualization/plot_curves.py work_dirs/res18_srp_affwild2
    python tools/visualization/plot_curves.py work_dirs/seed0 work_dirs/seed1 \\
        --scores affwild2/macro_f1 affwild2/f1_Fear --out curves.png

It reads vis_data/scalars.json of each start of a run, so that a resumed run is one curve.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from abaw_mm.cli import CommandParser, make_names, report_errors
from abaw_mm.visualization.curves import UNITS, draw_curves, find_scores, read_curves


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the picture."""
    parser = CommandParser(__doc__)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='work dirs of trainings')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('curves.png'),
        help='picture to write (default: %(default)s)',
    )
    parser.add_argument(
        '--scores',
        nargs='+',
        metavar='NAME',
        help='logged values of the last panels (default: macro-F1, CCC, mean F1 of units and P)',
    )
    args = parser.parse_args(argv)
    if args.out.suffix.lower() != '.png':
        parser.error(f'--out: got {args.out}, expected a file that ends in .png')
    names = make_names(args.work_dirs)
    if len(set(names)) < len(names):
        parser.error('WORK_DIR: got one folder twice, expected different work dirs')
    runs = [read_curves(work_dir) for work_dir in args.work_dirs]
    scores = args.scores or find_scores(runs)
    draw_curves(dict(zip(names, runs, strict=True)), scores, args.out)
    for name, curves in zip(names, runs, strict=True):
        for score in scores:
            values = curves.get(score)
            if values:
                best = max(values, key=lambda step: values[step])
                last = max(values)
                digits = 4 if score.endswith(UNITS) else 2
                print(
                    f'{name}: {score} {values[last]:.{digits}f} at step {last}, '
                    f'best {values[best]:.{digits}f} at step {best}'
                )
    print(args.out)


if __name__ == '__main__':
    sys.exit(main())
