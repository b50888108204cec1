#!/usr/bin/env python
"""Choose postprocessing on the validation set, and estimate its gain by cross-validation.

    python tools/analysis_tools/search_postprocessing.py validation.npz
    python tools/analysis_tools/search_postprocessing.py seed0.npz seed1.npz --gate-with audio.npz

The steps, each chosen given those before it: weights of several files in their mean; the confidence
from which --gate-with is trusted; method and width of a smoothing; a bias of each class; a
threshold of each action unit. The score is that of the track. The best score is partly luck. The
clips are therefore split into folds. For each fold, all steps are chosen on the other folds; the
gain is that of these choices on the clips left out. The network is not needed.
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
)
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.search_postprocessing import (
    BIASES,
    STEPS,
    THRESHOLDS,
    WIDTHS,
    Candidates,
    SearchResult,
    list_weights,
    search_postprocessing,
)
from abaw_mm.evaluation.postprocessing.smoothing import METHODS
from abaw_mm.evaluation.predictions.score_tracks import SCORES
from abaw_mm.files import write_json

GATES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, json_argument())
    parser.add_argument('predictions', nargs='+', help='.npz of an annotated set, one per model')
    parser.add_argument(
        '--steps',
        nargs='+',
        choices=tuple(dict.fromkeys(step for steps in STEPS.values() for step in steps)),
        help='steps to search; default: all of the track, weights with several files, gate with '
        '--gate-with',
    )
    parser.add_argument(
        '--gate-with', metavar='FILE', help='.npz of the model that is trusted where confident'
    )
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
    args = parser.parse_args(argv)
    if args.steps and 'weights' in args.steps and len(args.predictions) == 1:
        parser.error('--steps weights: got one file, expected several')
    if args.steps and ('gate' in args.steps) != bool(args.gate_with):
        parser.error('--steps gate and --gate-with FILE: got one of them, expected both')
    return args


def list_steps(args: argparse.Namespace, task: str) -> list[str]:
    """Return the steps to search, by default all of the track that the files allow."""
    if args.steps:
        return args.steps
    steps = [step for step in STEPS[task] if step not in ('weights', 'gate')]
    return steps + ['weights'] * (len(args.predictions) > 1) + ['gate'] * bool(args.gate_with)


def print_result(result: SearchResult, console: Console, task: str) -> None:
    """Print the gains and the choices."""
    before = result.before
    _, name, digits = SCORES[task]
    rows = [
        (stage.step, *(f'{x - before:+{digits}}' for x in (stage.claimed, stage.held_out)))
        for stage in result.stages
    ]
    console.print(make_table(('steps up to', 'in-sample gain', 'held-out gain'), rows))
    console.print(
        f'{name} before {before:{digits}}; in-sample {result.claimed:{digits}}; '
        f'held-out {result.held_out:{digits}}'
    )
    console.print(
        f'held-out gain: {result.held_out - before:+{digits}} '
        f'({len(result.stages[-1].by_fold)} folds); report this one'
    )
    console.print(f'chosen on all clips: {result.choice.flags or "none"}', soft_wrap=True)
    for choice, times in Counter(result.stages[-1].by_fold).most_common():
        folds = f'{times} fold{"s" * (times > 1)}'
        console.print(f'chosen by {folds}: {choice.flags or "none"}', soft_wrap=True)


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    args = parse_args(argv)
    parts = [Predictions.read(path) for path in args.predictions]
    second = Predictions.read(args.gate_with) if args.gate_with else None
    task = parts[0].task
    values = dict(
        weights=list_weights(len(args.predictions)),
        gate=GATES,
        smooth=[(method, width) for method in args.methods for width in args.widths if width],
        bias=BIASES,
        threshold=THRESHOLDS,
    )
    steps = list_steps(args, task)
    candidates = Candidates(**{name: x if name in steps else () for name, x in values.items()})
    result = search_postprocessing(
        parts, args.predictions, candidates, second, args.folds, args.seed
    )
    print_result(result, make_console(), task)
    if args.json:
        figures = dict(claimed=result.claimed, held_out=result.held_out, flags=result.choice.flags)
        write_json(args.json, asdict(result) | figures)


if __name__ == '__main__':
    sys.exit(main())
