#!/usr/bin/env python
"""Find a smoothing on the validation set, and its gain on clips that did not choose it. No GPU.

    python tools/analysis_tools/search_smoothing.py validation.npz

Every method and width is scored on all clips; the best of them is partly luck. So the clips are
dealt into folds, the other folds choose for each, and the gain is that of the choices together.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from abaw_mm.cli import report_errors
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.postprocess import Postprocess
from abaw_mm.evaluation.predictions.search_smoothing import (
    SearchResult,
    search_smoothing,
)
from abaw_mm.evaluation.predictions.smoothing import METHODS
from abaw_mm.files import atomic_write

WIDTHS = (5, 15, 25, 50, 100)
PLAIN_WIDTH = 100  # columns of a table that goes to a file


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog='exit status: 0; 1 after an error; 2 for wrong flags',
    )
    parser.add_argument('predictions', help='.npz of an annotated set')
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=list(METHODS))
    parser.add_argument(
        '--widths',
        nargs='+',
        type=int,
        default=list(WIDTHS),
        metavar='FRAMES',
        help=f'default: {" ".join(map(str, WIDTHS))}',
    )
    parser.add_argument('--folds', type=int, default=5, help='default: 5')
    parser.add_argument('--seed', type=int, default=0, help='of the folds')
    parser.add_argument('--json', metavar='FILE', help='write the figures there, too')
    return parser.parse_args(argv)


def name_of(candidate: Postprocess) -> str:
    """A candidate in the flags of postprocess_predictions.py."""
    return f'--method {candidate.method} --width {candidate.width}' if candidate.width else 'none'


def show(result: SearchResult, candidates: Sequence[Postprocess], console: Console) -> None:
    """Print all scores, the choices and the gain."""
    table = Table(box=box.MARKDOWN)
    table.add_column('smoothing')
    table.add_column('macro-F1 (%)', justify='right')
    table.add_column('chosen by folds', justify='right')
    times = Counter(result.chosen)
    for i, (candidate, score) in enumerate(zip(candidates, result.scores, strict=True)):
        table.add_row(name_of(candidate), f'{score:.2f}', str(times[i] or '-'))
    console.print(table)
    best = result.scores[result.best]
    console.print(
        f'best on all clips: {name_of(candidates[result.best])}, {best:.2f} '
        f'({best - result.before:+.2f}; chosen on the clips it is scored on)'
    )
    console.print(
        f'gain on clips left out: {result.held_out - result.before:+.2f} '
        f'({result.before:.2f} -> {result.held_out:.2f}, {len(result.chosen)} folds); '
        'report this one'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures."""
    args = parse_args(argv)
    candidates = [
        Postprocess(),
        *(
            Postprocess(method=method, width=width)
            for method in args.methods
            for width in args.widths
            if width
        ),
    ]
    result = search_smoothing(Predictions.read(args.predictions), candidates, args.folds, args.seed)
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    console = Console(width=width, soft_wrap=True, markup=False, highlight=False)
    show(result, candidates, console)
    if args.json:
        figures = dict(asdict(result), candidates=[name_of(x) for x in candidates])
        with atomic_write(args.json) as draft:
            draft.write_text(json.dumps(figures, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
