#!/usr/bin/env python
"""Choose a smoothing on the validation set, and estimate its gain by cross-validation.

    python tools/analysis_tools/search_smoothing.py validation.npz

Every method and width is scored on all clips, but the best score is partly luck. The clips are
therefore split into folds. For each fold, the smoothing is chosen on the other folds; the gain is
that of these choices on the clips left out. The network is not needed.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from abaw_mm.cli import (
    CommandParser,
    json_argument,
    make_console,
    make_table,
    report_errors,
    width_argument,
    write_json,
)
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.postprocess import Postprocess
from abaw_mm.evaluation.predictions.search_smoothing import SearchResult, search_smoothing
from abaw_mm.evaluation.predictions.smoothing import METHODS

WIDTHS = (5, 15, 25, 50, 100)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, json_argument())
    parser.add_argument('predictions', help='.npz of an annotated set')
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=list(METHODS))
    parser.add_argument(
        '--widths',
        nargs='+',
        type=width_argument,
        default=list(WIDTHS),
        metavar='WIDTH',
        help='frames, or seconds such as 1.0s for predictions of a video; default: '
        f'{" ".join(map(str, WIDTHS))}',
    )
    parser.add_argument('--folds', type=int, default=5, help='default: 5')
    parser.add_argument('--seed', type=int, default=0, help='seed of the folds; default: 0')
    return parser.parse_args(argv)


def format_candidate(candidate: Postprocess) -> str:
    """Format a candidate as flags of postprocess_predictions.py."""
    return f'--method {candidate.method} --width {candidate.width}' if candidate.width else 'none'


def print_result(result: SearchResult, names: Sequence[str], console: Console) -> None:
    """Print all scores, the choices and the gain."""
    times = Counter(result.chosen)
    rows = [
        (name, f'{score:.2f}', times[i] or '-')
        for i, (name, score) in enumerate(zip(names, result.scores, strict=True))
    ]
    console.print(make_table(('smoothing', 'macro-F1 (%)', 'chosen by folds'), rows))
    best = result.scores[result.best]
    console.print(
        f'best on all clips: {names[result.best]}, {best:.2f} ({best - result.before:+.2f}; '
        'chosen on the clips it is scored on)'
    )
    console.print(
        f'gain on clips left out: {result.held_out - result.before:+.2f} '
        f'({result.before:.2f} -> {result.held_out:.2f}, {len(result.chosen)} folds); '
        'report this one'
    )


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
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
    names = [format_candidate(candidate) for candidate in candidates]
    result = search_smoothing(Predictions.read(args.predictions), candidates, args.folds, args.seed)
    print_result(result, names, make_console())
    if args.json:
        write_json(args.json, dict(asdict(result), candidates=names))


if __name__ == '__main__':
    sys.exit(main())
