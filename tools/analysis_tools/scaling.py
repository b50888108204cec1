#!/usr/bin/env python
"""Estimate how a training scales from 1 to 64 GPUs, and where more of them stop helping.

    python tools/analysis_tools/scaling.py configs/res50_srp_affwild2.py --step-ms 60
    python tools/analysis_tools/scaling.py configs/*_affwild2.py

The bytes of the gradients are counted on the config's model. The time of a step on one GPU is an
argument: measure it as `time` in the log of a run with one process. Without it, only the bytes are
printed. docs/scaling.md has the formula. Neither weights nor data are needed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from abaw_mm.apis import load_config
from abaw_mm.apis.model_stats import build_model, count_parameters
from abaw_mm.cli import (
    CommandParser,
    cfg_options_argument,
    json_argument,
    make_console,
    make_table,
    report_errors,
)
from abaw_mm.engine.processes.scaling import (
    Cluster,
    StepCost,
    count_gradient_bytes,
    find_useful_gpus,
)
from abaw_mm.files import write_json

GPUS = (1, 2, 4, 8, 16, 32, 64)
FIXED, SCALED, ACCUMULATED, COMPRESSED = (
    'same batch',
    'batch x GPUs',
    '4 accumulated steps',
    'bfloat16 gradients',
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse arguments."""
    parser = CommandParser(
        __doc__, json_argument(), cfg_options_argument('model.backbone.frozen_stages=4')
    )
    parser.add_argument('config', nargs='+', help='paths of the configs')
    parser.add_argument('--step-ms', type=float, help='time of a step on one GPU, in ms')
    parser.add_argument(
        '--fixed-ms',
        type=float,
        default=0.0,
        help='part of it that a smaller batch does not shorten (default: %(default)s)',
    )
    parser.add_argument(
        '--batch', type=int, default=128, help='frames of that step (default: %(default)s)'
    )
    parser.add_argument(
        '--gpus-per-node', type=int, default=8, help='GPUs of a machine (default: %(default)s)'
    )
    parser.add_argument(
        '--node-gbps',
        type=float,
        default=200.0,
        help='rate between GPUs of a machine, in Gbit/s (default: %(default)s)',
    )
    parser.add_argument(
        '--network-gbps',
        type=float,
        default=25.0,
        help='rate between machines, in Gbit/s (default: %(default)s)',
    )
    parser.add_argument(
        '--overlap',
        type=float,
        default=0.0,
        help='part of a step during which gradients are sent already, 0 to 1 (default: 0)',
    )
    args = parser.parse_args(argv)
    for name in ('step_ms', 'batch', 'gpus_per_node', 'node_gbps', 'network_gbps'):
        value = getattr(args, name)
        if value is not None and not value > 0:
            parser.error(f'--{name.replace("_", "-")}: got {value}, expected a number above 0')
    if not 0 <= args.overlap <= 1:
        parser.error(f'--overlap: got {args.overlap}, expected 0 to 1')
    if not 0 <= args.fixed_ms <= (args.step_ms or args.fixed_ms):
        parser.error(f'--fixed-ms: got {args.fixed_ms}, expected 0 to --step-ms')
    if args.step_ms is not None and len(args.config) > 1:
        parser.error('--step-ms: got several configs, expected one; the time is of one model')
    return args


def estimate(cost: StepCost, cluster: Cluster, batch: int, overlap: float) -> dict[str, dict]:
    """Estimate the frames per second on each number of GPUs, for each way to train."""
    rates: dict[str, dict[int, float]] = {}
    for name in (FIXED, SCALED, ACCUMULATED, COMPRESSED):
        rates[name] = {}
        for gpus in GPUS:
            own = max(1, batch // gpus) if name in (FIXED, COMPRESSED) else batch
            accumulated = 4 if name == ACCUMULATED else 1
            factor = 0.5 if name == COMPRESSED else 1.0
            seconds = cost.time_update(cluster, gpus, own, accumulated, factor, overlap)
            rates[name][gpus] = gpus * own * accumulated / seconds
    return rates


def measure_model(cfg: Config) -> dict[str, int]:
    """Count the parameters of a config's model, and the bytes of its gradients."""
    model = build_model(cfg)
    trainable, total = count_parameters(model)
    return dict(total=total, trainable=trainable, gradient_bytes=count_gradient_bytes(model))


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Count, estimate and print."""
    args = parse_args(argv)
    console = make_console()
    counts = {
        Path(config).stem: measure_model(load_config(config, cfg_options=args.cfg_options))
        for config in args.config
    }
    rows = [
        (
            name,
            f'{count["total"] / 1e6:.3f} M',
            f'{count["trainable"] / 1e6:.3f} M',
            f'{count["gradient_bytes"] / 1e6:.2f} MB',
        )
        for name, count in counts.items()
    ]
    console.print(make_table(('config', 'parameters', 'trainable', 'gradients'), rows))
    result: dict = dict(configs=counts)
    if args.step_ms is not None:
        cost = StepCost(
            args.fixed_ms / 1e3,
            (args.step_ms - args.fixed_ms) / 1e3 / args.batch,
            next(iter(counts.values()))['gradient_bytes'],
        )
        cluster = Cluster(args.gpus_per_node, args.node_gbps, args.network_gbps)
        result['frames_per_s'] = rates = estimate(cost, cluster, args.batch, args.overlap)
        console.print('estimated frames/s, and in brackets the part of n times one GPU')
        rows = [
            (
                f'{gpus}',
                *(f'{of[gpus]:.0f} ({of[gpus] / (gpus * of[1]):.0%})' for of in rates.values()),
            )
            for gpus in GPUS
        ]
        last = ('worth it', *(f'up to {find_useful_gpus(of)}' for of in rates.values()))
        console.print(make_table(('GPUs', *rates), [*rows, last]))
    if args.json:
        write_json(args.json, result)


if __name__ == '__main__':
    sys.exit(main())
