#!/usr/bin/env python
"""Compare networks of one track with networks of all tracks on drawn faces.

    python demo/make_demo_data.py data/tracks --seed 7 --train-clips 48 --val-clips 16 --size 64
    python benchmarks/tracks.py --data-root data/tracks --work-dir work_dirs/tracks

All networks train on the rows of the multi-task set, and their last checkpoint is scored on those
of its validation set. They differ only in the weights of the three losses: a network of one track
has the weight 0 for the others. The same command continues after an interruption at any moment;
what is finished is not repeated.
"""

import argparse
import json
import os
from pathlib import Path

import abaw_mm  # noqa: F401  patches what the import of mmpretrain needs

# isort: split
import numpy as np
from pretraining import run

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.score_tracks import score_track
from abaw_mm.files import atomic_write, write_json

CONFIG = 'benchmarks/configs/res18_srp_mtl_mini.py'
NETWORKS = dict(
    va='valence and arousal only',
    expr='expressions only',
    au='action units only',
    all='all three, weights 1',
    uncertainty='all three, learned weights',
)
PARTS = ('train', 'val', 'test')
SCORES = dict(va='ccc', expr='macro_f1', au='mean_f1')
UNITS = dict(va='CCC', expr='macro-F1 (%)', au='AU F1 (%)')


def run_network(network: str, seed: int, args: argparse.Namespace) -> None:
    """Train, predict and score a network, as far as that is not done."""
    folder = args.work_dir / f'{network}_seed{seed}'
    if (folder / 'scores.json').is_file():
        return
    options = [f'randomness.seed={seed}']
    if network == 'uncertainty':
        options.append('model.head.weights=uncertainty')
    elif network in SCORES:
        options += [f'model.head.weights.{track}={int(track == network)}' for track in SCORES]
    options += [f'{part}_dataloader.dataset.data_root={args.data_root}' for part in PARTS]
    options += [f'train_cfg.max_iters={args.steps}', f'train_cfg.val_interval={args.steps}']
    checkpoint, out = folder / f'iter_{args.steps}.pth', folder / 'predictions.npz'
    if not checkpoint.is_file():
        command = ['tools/train.py', CONFIG, '--resume', '--work-dir', str(folder)]
        run([*command, '--cfg-options', *options], folder / 'run.log', args.threads)
    if not out.is_file():
        command = ['tools/test.py', str(folder / Path(CONFIG).name), str(checkpoint)]
        flags = ['--work-dir', str(folder / 'test'), '--out', str(out)]
        run([*command, *flags], folder / 'run.log', args.threads)
    write_json(str(folder / 'scores.json'), score_track(Predictions.read(out)).with_crop)


def read_scores(folder: Path, network: str, seeds: int) -> dict[str, list[float]]:
    """Read the scores of the finished seeds: name of a track to one score per seed."""
    paths = [folder / f'{network}_seed{seed}' / 'scores.json' for seed in range(seeds)]
    found = [json.loads(path.read_text()) for path in paths if path.is_file()]
    return {track: [scores[name] for scores in found] for track, name in SCORES.items()}


def describe(scores: list[float], digits: int) -> str:
    """Return the scores of the seeds, then their mean and sample deviation.

    >>> describe([1.0, 2.0, 3.0], 1)
    '1.0, 2.0, 3.0: 2.0 ± 1.0'
    """
    if not scores:
        return 'not run'
    text = ', '.join(f'{score:.{digits}f}' for score in scores)
    if len(scores) == 1:
        return text
    return f'{text}: {np.mean(scores):.{digits}f} ± {np.std(scores, ddof=1):.{digits}f}'


def report(folder: Path, seeds: int) -> str:
    """Return the table: a row per network, with the scores of what it was trained for."""
    lines = ['| network | ' + ' | '.join(UNITS.values()) + ' |', '| --- ' * 4 + '|']
    for network, name in NETWORKS.items():
        scores = read_scores(folder, network, seeds)
        cells = [
            describe(scores[track], 3 if track == 'va' else 2)
            if network == track or network not in SCORES
            else ''
            for track in SCORES
        ]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data-root', default='data/tracks', help='root of the drawn faces')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/tracks'))
    parser.add_argument('--networks', nargs='+', choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument('--seeds', type=int, default=3, help='number of seeds, from 0')
    parser.add_argument('--steps', type=int, default=400, help='iterations of a training')
    parser.add_argument('--threads', type=int, default=1, help='threads of a run')
    parser.add_argument('--report', action='store_true', help='only print the table')
    args = parser.parse_args()
    args.work_dir, args.data_root = args.work_dir.absolute(), os.path.abspath(args.data_root)
    if not args.report:
        for seed in range(args.seeds):
            for network in args.networks:
                run_network(network, seed, args)
                with atomic_write(args.work_dir / 'results.md') as draft:
                    draft.write_text(report(args.work_dir, args.seeds), encoding='utf-8')
    print(report(args.work_dir, args.seeds))


if __name__ == '__main__':
    main()
