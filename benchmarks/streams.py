#!/usr/bin/env python
"""Compare models of one stream and fusions where no single stream shows all classes.

    python demo/make_demo_sound.py data/demo_sound --train-clips 14 --val-clips 6 \\
        --test-clips 0 --frames 120 --size 48
    python benchmarks/streams.py --data-root data/demo_sound --work-dir work_dirs/streams

A frame model is trained on the pictures and its features are extracted, as are log-mel energies of
the sound. Then each model over features is trained and scored with each seed, once, after its last
iteration. The project's own commands do the work, in this process. ``runs.json`` has the scores of
all runs; runs that it has are not repeated.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

from abaw_mm.cli.console import run
from abaw_mm.evaluation import Predictions
from abaw_mm.files import atomic_write
from abaw_mm.structures.tasks import EXPRESSIONS

PAIRS = dict(sound=('Anger', 'Fear'), motion=('Sadness', 'Surprise'))
WIDTHS = dict(video=256, audio=80)
FRAME_MODEL = """
_base_ = ['abaw_mm::res18_srp_demo.py']
data_preprocessor = dict(crop_size=48, resize_edge=48)
model = dict(head=dict(in_channels=256))
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root={root!r})
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root={root!r}))
test_dataloader = val_dataloader
train_cfg = dict(max_iters={frame_iters}, val_interval={frame_iters})
default_hooks = dict(checkpoint=dict(interval={frame_iters}))
"""
FEATURES = """
_base_ = ['abaw_mm::{base}.py']
data = dict(data_root={root!r}, feature_dir={folders}, window=64, context={context})
train_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(**data, step=16)
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(**data, step=64)
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_iters={iters}, val_interval={iters})
default_hooks = dict(checkpoint=dict(interval={iters}))
"""
TCN = "dict(type='TemporalConvNet', in_channels=64, channels=64, num_layers=4)"
SINGLE = dict(
    mlp=('mlp_features_affwild2', 0, 'model = dict(backbone=dict(in_channels={width}))'),
    tcn=(
        'temporal_tcn_affwild2',
        15,
        'model = dict(backbone=dict(in_channels={width}, channels=64, num_layers=4), '
        'head=dict(in_channels=64))',
    ),
)
FUSION = "dict(_delete_=True, type='{kind}', in_channels={widths}, channels=64)"
GATE = 'gated_av_affwild2'
MODELS = {  # base, context, settings
    'video, each frame': ('video', *SINGLE['mlp']),
    'audio, each frame': ('audio', *SINGLE['mlp']),
    'video over time (TCN)': ('video', *SINGLE['tcn']),
    'audio over time (TCN)': ('audio', *SINGLE['tcn']),
    'gate, each frame': (
        '',
        GATE,
        0,
        f'model = dict(backbone={FUSION}, head=dict(in_channels=64))'.replace(
            '{kind}', 'GatedFusion'
        ),
    ),
    **{
        name: (
            '',
            GATE,
            15,
            f'model = dict(backbone={FUSION}, neck={TCN}, head=dict(in_channels=64))'.replace(
                '{kind}', kind
            ),
        )
        for name, kind in (('concatenation + TCN', 'ConcatFusion'), ('gate + TCN', 'GatedFusion'))
    },
    'cross-attention': (
        '',
        'cross_attention_av_affwild2',
        0,
        'model = dict(backbone=dict(in_channels={widths}, channels=64, num_layers=2, num_heads=4), '
        'head=dict(in_channels=64))\n'
        'param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False)]',
    ),
}


def call(name: str, *words: object) -> None:
    """Run a command of abaw-mm in this process.

    Raises:
        RuntimeError: If it fails.
    """
    print('abaw-mm', name, *words, flush=True)
    if status := run(name, [str(word) for word in words]):
        raise RuntimeError(f'abaw-mm {name}: exit status {status}')


def train_and_score(config: Path, seed: int) -> dict[str, float]:
    """Train a config and return the scores of its last checkpoint, in %."""
    work_dir = config.with_suffix('') / f'seed{seed}'
    call('train', config, '--work-dir', work_dir, '--cfg-options', f'randomness.seed={seed}')
    checkpoint = work_dir / (work_dir / 'last_checkpoint').read_text().rpartition('/')[2]
    out = work_dir / 'validation.npz'
    call('test', config, checkpoint, '--work-dir', work_dir, '--out', out)
    return score(Predictions.read(out))


def score(predictions: Predictions) -> dict[str, float]:
    """Return the accuracy of each pair and macro-F1 of the four classes, in %."""
    true, predicted = predictions['gt_label'], predictions['pred_label']
    scores, f1 = {}, []
    for pair, names in PAIRS.items():
        labels = [EXPRESSIONS.index(name) for name in names]
        own = np.isin(true, labels)
        scores[pair] = 100 * float((true == predicted)[own].mean())
        for label in labels:
            hits = ((true == label) & (predicted == label)).sum()
            f1.append(200 * float(hits) / float((true == label).sum() + (predicted == label).sum()))
    return scores | dict(macro_f1=statistics.fmean(f1))


def make_config(name: str, root: str, work_dir: Path, iters: int) -> str:
    """Return the config of a model over features."""
    stream, base, context, settings = MODELS[name]
    paths = {stream: str(work_dir / 'features' / stream) for stream in WIDTHS}
    fusion = 'dict(_delete_=True, **' + repr(paths) + ')'
    folders = repr(paths[stream]) if stream else fusion
    settings = settings.replace('{width}', str(WIDTHS.get(stream)))
    settings = settings.replace('{widths}', repr(WIDTHS))
    text = FEATURES.format(base=base, root=root, folders=folders, context=context, iters=iters)
    return text + settings + '\n'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--data-root', default='data/demo_sound')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/streams'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--frame-iters', type=int, default=100, help='of the frame model')
    parser.add_argument('--iters', type=int, default=150, help='of the models over features')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run what is not done yet, and print the table."""
    args = parse_args(argv)
    root, work_dir = args.data_root, args.work_dir
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / 'runs.json'
    runs = json.loads(path.read_text()) if path.is_file() else {}

    def record(name: str, seed: int, config: Path) -> None:
        if str(seed) not in runs.setdefault(name, {}):
            runs[name][str(seed)] = train_and_score(config, seed)
            with atomic_write(path) as draft:
                draft.write_text(json.dumps(runs, indent=1) + '\n')

    frame = work_dir / 'frame_model.py'
    frame.write_text(FRAME_MODEL.format(root=root, frame_iters=args.frame_iters))
    record('frame model', args.seeds[0], frame)
    folder = work_dir / f'frame_model/seed{args.seeds[0]}'
    checkpoint = folder / (folder / 'last_checkpoint').read_text().rpartition('/')[2]
    video, audio = (work_dir / 'features' / stream for stream in WIDTHS)
    call('features', frame, checkpoint, '--layer', 'backbone', '--out', video)
    call('audio', f'{root}/videos', '--frames', video, '--out', audio)
    for seed in args.seeds:
        for number, name in enumerate(MODELS):
            config = work_dir / f'model{number}.py'
            config.write_text(make_config(name, root, work_dir, args.iters))
            record(name, seed, config)
    print(format_table(runs))
    return 0


def format_table(runs: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return mean and sample deviation over the seeds as a Markdown table."""
    rows = ['| model | sound pair | motion pair | macro-F1 |', '| --- | --- | --- | --- |']
    for name, seeds in runs.items():
        cells = []
        for key in (*PAIRS, 'macro_f1'):
            values = [scores[key] for scores in seeds.values()]
            spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
            cells.append(f'{statistics.fmean(values):.1f}{spread}')
        rows.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(rows)


if __name__ == '__main__':
    sys.exit(main())
