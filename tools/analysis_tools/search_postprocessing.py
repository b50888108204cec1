#!/usr/bin/env python
"""Choose postprocessing on the validation set, and estimate its gain by cross-validation.

    python tools/analysis_tools/search_postprocessing.py validation.npz
    python tools/analysis_tools/search_postprocessing.py seed0.npz seed1.npz --gate-with audio.npz

The steps, each chosen given those before it: weights of several files in their mean; the confidence
from which --gate-with is trusted; method and width of a smoothing; a bias of each class. The best
score is partly luck. The clips are therefore split into folds. For each fold, all steps are chosen
on the other folds; the gain is that of these choices on the clips left out. The network is not
needed.
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
from abaw_mm.evaluation.postprocessing.ensemble import average
from abaw_mm.evaluation.postprocessing.search_postprocessing import (
    BIASES,
    WIDTHS,
    Candidates,
    SearchResult,
    list_weights,
    search_postprocessing,
)
from abaw_mm.evaluation.postprocessing.search_thresholds import search_thresholds
from abaw_mm.evaluation.postprocessing.smoothing import METHODS

STEPS = ('weights', 'gate', 'smooth', 'bias')  # of expressions
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, json_argument())
    parser.add_argument('predictions', nargs='+', help='.npz of an annotated set, one per model')
    parser.add_argument(
        '--steps',
        nargs='+',
        choices=(*STEPS, 'threshold'),
        help='steps to search; default: smooth and bias, weights with several files, gate with '
        '--gate-with; threshold, alone: the thresholds of action units',
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
    if args.steps is None:
        absent = {'weights': len(args.predictions) == 1, 'gate': not args.gate_with}
        args.steps = [step for step in STEPS if not absent.get(step)]
    if 'weights' in args.steps and len(args.predictions) == 1:
        parser.error('--steps weights: got one file, expected several')
    if ('gate' in args.steps) != bool(args.gate_with):
        parser.error('--steps gate and --gate-with FILE: got one of them, expected both')
    return args


def print_result(result: SearchResult, console: Console) -> None:
    """Print the gains and the choices."""
    before = result.before
    rows = [
        (stage.step, f'{stage.claimed - before:+.2f}', f'{stage.held_out - before:+.2f}')
        for stage in result.stages
    ]
    console.print(
        make_table(('steps up to', 'gain on the clips that chose', 'gain on clips left out'), rows)
    )
    console.print(
        f'macro-F1 (%) before {before:.2f}; on the clips that chose {result.claimed:.2f}; '
        f'on clips left out {result.held_out:.2f}'
    )
    console.print(
        f'gain on clips left out: {result.held_out - before:+.2f} '
        f'({len(result.stages[-1].by_fold)} folds); report this one'
    )
    console.print(f'chosen on all clips: {result.choice.flags or "none"}', soft_wrap=True)
    for choice, times in Counter(result.stages[-1].by_fold).most_common():
        console.print(f'chosen by {times} folds: {choice.flags or "none"}', soft_wrap=True)


def print_thresholds(args: argparse.Namespace, predictions: Predictions) -> None:
    """Choose the thresholds of action units; print the gains and the choice."""
    result = search_thresholds(predictions, args.folds, args.seed)
    console, before = make_console(), result.before
    gains = [f'{score - before:+.2f}' for score in (result.claimed, result.held_out)]
    header = ('steps up to', 'gain on the clips that chose', 'gain on clips left out')
    console.print(make_table(header, [('threshold', *gains)]))
    console.print(
        f'mean F1 (%) at 0.5 {before:.2f}; on the clips that chose {result.claimed:.2f}; '
        f'on clips left out {result.held_out:.2f}'
    )
    console.print(f'gain on clips left out: {gains[1]} ({args.folds} folds); report this one')
    console.print(f'chosen on all clips: {result.flags}', soft_wrap=True)
    if args.json:
        write_json(args.json, asdict(result) | dict(flags=result.flags))


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    args = parse_args(argv)
    candidates = Candidates(
        weights=list_weights(len(args.predictions)) if 'weights' in args.steps else (),
        gate=THRESHOLDS if 'gate' in args.steps else (),
        smooth=[(method, width) for method in args.methods for width in args.widths if width]
        if 'smooth' in args.steps
        else (),
        bias=BIASES if 'bias' in args.steps else (),
    )
    parts = [Predictions.read(path) for path in args.predictions]
    if 'threshold' in args.steps:
        parts[0].check_task(('au', 'mtl'), f'{args.predictions[0]}: --steps threshold')
    second = Predictions.read(args.gate_with) if args.gate_with else None
    if parts[0].task != 'expr':
        if args.steps != ['threshold']:
            parts[0].check_task(('expr',), f'{args.predictions[0]}: --steps {" ".join(args.steps)}')
        print_thresholds(args, average(parts, args.predictions))
        return
    result = search_postprocessing(
        parts, args.predictions, candidates, second, args.folds, args.seed
    )
    print_result(result, make_console())
    if args.json:
        figures = dict(claimed=result.claimed, held_out=result.held_out, flags=result.choice.flags)
        write_json(args.json, asdict(result) | figures)


if __name__ == '__main__':
    sys.exit(main())
