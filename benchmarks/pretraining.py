#!/usr/bin/env python
"""Compare random weights, SimSiam, BYOL and ContraWarping with the same budget.

    python benchmarks/pretraining.py --faces data/faces --data-root data/affwild2_mini \\
        --work-dir work_dirs/pretraining --jobs 2

For each method and seed, a ResNet-18 is pre-trained on unlabelled faces, probed on labelled frames
(``ProbeHook``: nearest neighbours and linear), and fine-tuned with three frozen stages and Spatial
Reserve Pooling. It is scored once, after the last iteration, so no choice depends on the validation
frames. Random weights are probed and fine-tuned without pre-training.

The size suits two CPU cores: half the width, 80 pixels, 500 steps; see ``PRETRAINING`` and
``benchmarks/configs``. The project's own commands do the work. ``results.json`` stores them with
their scores, and ``results.md`` shows mean and sample deviation over the seeds. Runs in
``results.json`` are not repeated, so use another folder after a change of the size.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from abaw_mm.files import atomic_write

ROOT = Path(__file__).parents[1]
METHODS = dict(
    random='random weights', simsiam='SimSiam', byol='BYOL', contrawarping='ContraWarping'
)
SCORES = dict(knn='nearest neighbours', linear='linear probe', finetuned='fine-tuned')
SIDE = 80  # side of a face in pre-training and probe, in pixels

CONFIGS = 'benchmarks/configs/'
PRETRAINING = {
    'train_cfg.max_iters': 500,
    'train_dataloader.batch_size': 64,
    'train_dataloader.num_workers': 1,
    'data_preprocessor.view_size': SIDE,
    'param_scheduler.0.end': 20,
    'model.backbone.norm_cfg.type': 'BN',
    'model.backbone.stem_channels': 32,
    'model.backbone.base_channels': 32,
    'model.neck.in_channels': 256,
    'default_hooks.probe.dataset.pipeline.1.scale': (SIDE, SIDE),
    'default_hooks.probe.interval': 100000,  # at the start and the end
    'default_hooks.probe.num_workers': 1,
    'default_hooks.checkpoint.interval': 100000,
}


def make_command(config: str, work_dir: Path, options: dict[str, object]) -> list[str]:
    """Return the command of one training."""
    changes = [f'{key}={value}'.replace(' ', '') for key, value in options.items()]
    return [
        'python',
        'tools/train.py',
        config,
        '--amp',
        '--work-dir',
        os.path.relpath(work_dir, ROOT),
        '--cfg-options',
        *changes,
    ]


def run(words: list[str], threads: int) -> None:
    """Run a command and write its output to a file beside its work dir.

    Raises:
        RuntimeError: If the command fails, with the end of its output.
    """
    work_dir = ROOT / words[words.index('--work-dir') + 1]
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    log = work_dir.with_suffix('.log')
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONPATH=str(ROOT))
    with log.open('w') as file:
        failed = subprocess.run(
            [sys.executable, *words[1:]], cwd=ROOT, env=environment, stdout=file, stderr=file
        ).returncode
    if failed:
        end = '\n'.join(log.read_text().split('\n')[-5:])
        raise RuntimeError(f'{shlex.join(words)} failed, see {log}:\n{end}')


def read_scalars(work_dir: Path, key: str) -> list[float]:
    """Return all values of a scalar that the latest run in a folder logged."""
    file = max(work_dir.glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def run_method(method: str, seed: int, args: argparse.Namespace) -> dict:
    """Pre-train, probe and fine-tune; return the scores (macro-F1 in %) and the commands."""
    folder = args.work_dir / f'{method}_seed{seed}'
    pretraining, finetuning = folder / 'pretraining', folder / 'finetuning'
    options = {
        'randomness.seed': seed,
        'train_dataloader.dataset.data_root': args.faces,
        'default_hooks.probe.dataset.data_root': args.data_root,
        **PRETRAINING,
    }
    if method == 'random':  # only for the probe before the first step
        config, checkpoint = f'{CONFIGS}res18_byol_mini.py', None
        options['train_cfg.max_iters'] = 1
    else:
        config, checkpoint = (
            f'{CONFIGS}res18_{method}_mini.py',
            os.path.relpath(pretraining / 'backbone.pth', ROOT),
        )
    commands = [
        make_command(config, pretraining, options),
        make_command(
            f'{CONFIGS}res18_srp_mini.py',
            finetuning,
            {
                'randomness.seed': seed,
                'train_dataloader.dataset.data_root': args.data_root,
                'val_dataloader.dataset.data_root': args.data_root,
                'checkpoint': checkpoint,
            },
        ),
    ]
    for words in commands:
        run(words, args.threads)
    step = 0 if method == 'random' else -1
    return dict(
        method=method,
        seed=seed,
        knn=read_scalars(pretraining, 'probe/knn_macro_f1')[step],
        linear=read_scalars(pretraining, 'probe/linear_macro_f1')[step],
        finetuned=read_scalars(finetuning, 'affwild2/macro_f1')[-1],
        commands=[shlex.join(words) for words in commands],
    )


def format_table(results: list[dict]) -> str:
    """Return a Markdown table: one row per method, macro-F1 in %, mean and sample deviation."""
    lines = [f'| {" | ".join(["", "seeds", *SCORES.values()])} |', '| --- ' * 5 + '|']
    for method, name in METHODS.items():
        rows = [row for row in results if row['method'] == method]
        cells = [name, str(len(rows))]
        for score in SCORES:
            values = [row[score] for row in rows]
            spread = f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
            cells.append(f'{statistics.mean(values):.2f}{spread}' if values else 'not run')
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--faces', default='data/faces', help='folder of unlabelled faces')
    parser.add_argument(
        '--data-root', default='data/affwild2_mini', help='root of the labelled frames'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/pretraining'))
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=list(METHODS))
    parser.add_argument('--seeds', type=int, default=3, help='number of seeds, from 0')
    parser.add_argument('--jobs', type=int, default=2, help='parallel trainings')
    args = parser.parse_args()
    args.threads = max(1, len(os.sched_getaffinity(0)) // args.jobs)
    args.work_dir = args.work_dir.absolute()
    file = args.work_dir / 'results.json'
    results = json.loads(file.read_text()) if file.exists() else []

    done = {(row['method'], row['seed']) for row in results}
    todo = [
        (method, seed)
        for seed in range(args.seeds)
        for method in args.methods
        if (method, seed) not in done
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        for future in as_completed([pool.submit(run_method, *pair, args) for pair in todo]):
            results.append(future.result())
            with atomic_write(file) as draft:
                draft.write_text(json.dumps(results, indent=1))
            with atomic_write(args.work_dir / 'results.md') as draft:
                draft.write_text(format_table(results))
    print(format_table(results))


if __name__ == '__main__':
    main()
