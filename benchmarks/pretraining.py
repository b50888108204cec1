#!/usr/bin/env python
"""Compare random weights, SimSiam, BYOL and ContraWarping with free and with muscle warps.

    python benchmarks/draw_faces.py data/faces_drawn
    python demo/make_demo_data.py data/drawn --seed 7 --train-clips 48 --val-clips 16 --frames 40
    python benchmarks/pretraining.py real --faces data/faces --data-root data/affwild2_mini \\
        --work-dir work_dirs/pretraining
    python benchmarks/pretraining.py drawn --faces data/faces_drawn --data-root data/drawn \\
        --work-dir work_dirs/pretraining

The protocol is docs/notes/contrawarping_protocol.md. For each method and seed, a ResNet-18 of half
the width is pre-trained on unlabelled faces. Then all labelled clips are predicted in five folds
grouped by raw video: by a linear probe of the frozen backbone, and by the paper's fine-tuning. The
same command continues after an interruption at any moment; what is finished is not repeated.
"""

import argparse
import itertools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import abaw_mm  # noqa: F401  patches what the import of mmpretrain needs

# isort: split
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.datasets.annotations import raw_video
from abaw_mm.datasets.folds import split_folds
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.probes import linear_predict
from abaw_mm.files import atomic_write, open_atomic
from abaw_mm.structures.tasks import EXPRESSIONS

ROOT = Path(__file__).parents[1]
CONFIGS = 'benchmarks/configs/'
SIDE = 80  # side of a view and of a probed face, in pixels
FOLDS = 5
STATISTICS = 50  # batches for the statistics of random weights
STRIDE = 3  # probed frames: one labelled frame in three
FREE = "dict(type='RandomLocalWarp',strength=0.12,radius=0.3,max_slope=0.65)"
METHODS = dict(
    contrawarping_muscle='ContraWarping, muscle warp',
    byol='BYOL',
    contrawarping_free='ContraWarping, free warp',
    simsiam='SimSiam',
    random='random weights',
)
# ContraWarping with the muscle warp and one factor changed, to find what matters on drawn faces.
FACTORS = dict(
    contrawarping_weight0={'model.head.loss.negative_weight': 0.0},  # BYOL in one direction
    contrawarping_weight05={'model.head.loss.negative_weight': 0.5},
    contrawarping_weight2={'model.head.loss.negative_weight': 2.0},
    contrawarping_margin1={'model.head.loss.margin': 1.0},
    contrawarping_weak={'data_preprocessor.warp.strength': 0.05},
    contrawarping_unsoftened={'data_preprocessor.warp_softening': 0.0},
    contrawarping_unshared={'model.shared_bn': False},
    contrawarping_symmetric={'model.symmetric': True},
    contrawarping_momentum={'model.base_momentum': 0.04},
)
# Eyes, nose and corners of the mouth, as fractions of the side: of the mean of faces_unlabelled,
# and of the drawn face at rest with mean proportions.
POINTS = dict(
    real='((0.335,0.385),(0.665,0.385),(0.5,0.635),(0.35,0.775),(0.65,0.775))',
    drawn='((0.324,0.454),(0.676,0.454),(0.5,0.626),(0.347,0.773),(0.653,0.773))',
)
PRETRAINING = {
    'train_dataloader.batch_size': 64,
    'train_dataloader.num_workers': 0,
    'data_preprocessor.view_size': SIDE,
    'param_scheduler.0.end': 250,
    'model.backbone.norm_cfg.type': 'BN',
    'model.backbone.stem_channels': 32,
    'model.backbone.base_channels': 32,
    'model.neck.in_channels': 256,
    'default_hooks.probe.interval': 0,  # the folds are probed afterwards
    'default_hooks.checkpoint.interval': 250,
}


def run(command: list[str], log: Path, threads: int) -> None:
    """Run a command of the project at the root of the repository; append its output to a log.

    Raises:
        RuntimeError: If the command fails, with the end of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONPATH=str(ROOT))
    with log.open('a') as file:
        print('$', shlex.join(command), file=file, flush=True)
        failed = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=file, stderr=file
        ).returncode
    if failed:
        end = '\n'.join(log.read_text().split('\n')[-5:])
        raise RuntimeError(f'{shlex.join(command)} failed, see {log}:\n{end}')


def make_pretraining(method: str, seed: int, folder: Path, args: argparse.Namespace) -> list[str]:
    """Return the command of a pre-training.

    Random weights get batch statistics of the unlabelled faces, but no step that changes them.
    """
    family = 'byol' if method == 'random' else method.split('_')[0]
    options = {
        **PRETRAINING,
        'randomness.seed': seed,
        'train_dataloader.dataset.data_root': args.faces,
        'train_cfg.max_iters': args.steps,
    }
    if method == 'contrawarping_muscle' or method in FACTORS:
        options['data_preprocessor.warp.points'] = POINTS[args.world]
        options |= FACTORS.get(method, {})
    elif method == 'random':
        options |= {'optim_wrapper.optimizer.lr': 0.0, 'train_cfg.max_iters': STATISTICS}
    elif method == 'contrawarping_free':
        options['data_preprocessor.warp'] = FREE
    changes = [f'{key}={value}' for key, value in options.items()]
    config = f'{CONFIGS}res18_{family}_mini.py'
    flags = ['--resume', '--work-dir', str(folder)] + ['--amp'] * args.amp
    return ['tools/train.py', config, *flags, '--cfg-options', *changes]


def build_backbone(path: Path) -> nn.Module:
    """Build the backbone with the exported weights."""
    backbone = MODELS.build(dict(type='ResNet', depth=18, stem_channels=32, base_channels=32))
    state = load_checkpoint_file(path)['state_dict']
    backbone.load_state_dict({k.removeprefix('backbone.'): v for k, v in state.items()})
    backbone.eval()  # returns None
    return backbone


def load_labelled(data_root: str) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Load one labelled frame in three: faces (F, 3, S, S), labels (F,) and clips (F,)."""
    faces, labels, clips = [], [], []
    for part in ('Train_Set', 'Validation_Set'):
        dataset = AffWild2Dataset(
            data_root=data_root,
            ann_file=f'annotations/EXPR_Recognition_Challenge/{part}',
            data_prefix='cropped_aligned',
            pipeline=[dict(type='LoadFaceCrop'), dict(type='Resize', scale=(SIDE, SIDE))],
            test_mode=True,
        )
        for index in range(0, len(dataset), STRIDE):
            frame = dataset[index]
            faces.append(frame['img'][..., ::-1])
            labels.append(int(frame['gt_label']))
            clips.append(frame['clip'])
    pixels = torch.from_numpy(np.stack(faces).transpose(0, 3, 1, 2).copy())
    return pixels, np.array(labels), np.array(clips)


@torch.no_grad()
def probe(backbone: nn.Module, data_root: str) -> dict[str, np.ndarray]:
    """Predict all labelled clips in five folds from the features of the frozen backbone."""
    pixels, labels, clips = load_labelled(data_root)
    normalization = Config.fromfile(ROOT / 'configs/_base_/datasets/imagenet_norm.py')
    mean, std = (
        torch.tensor(normalization.data_preprocessor[key])[:, None, None] for key in ('mean', 'std')
    )
    features = [
        backbone((part.float() - mean) / std)[-1].mean((2, 3)) for part in pixels.split(128)
    ]
    rows = torch.cat(features).numpy()
    predicted = np.full(len(labels), -1)
    of_clip = {clip: labels[clips == clip] for clip in np.unique(clips)}
    for fold in split_folds(of_clip, FOLDS):
        is_val = np.isin(clips, fold)
        predicted[is_val] = linear_predict(rows[~is_val], labels[~is_val], rows[is_val])
    return dict(predicted=predicted, labels=labels, clips=clips)


def run_method(method: str, seed: int, args: argparse.Namespace) -> None:
    """Pre-train, probe and fine-tune, as far as that is not done."""
    folder = args.work_dir / args.world / f'{method}_seed{seed}'
    weights = folder / 'pretraining/backbone.pth'
    if not weights.is_file():
        command = make_pretraining(method, seed, folder / 'pretraining', args)
        run(command, folder / 'pretraining.log', args.threads)
    if not (folder / 'probe.npz').is_file():
        with open_atomic(folder / 'probe.npz', 'wb') as file:
            np.savez(file, **probe(build_backbone(weights), args.data_root))
    if not args.probe_only and not (folder / 'finetuning/scores.json').is_file():
        command = ['tools/cross_validate.py', f'{CONFIGS}res18_srp_mini.py']
        command += ['--work-dir', str(folder / 'finetuning'), '--data-root', args.data_root]
        command += ['--cfg-options', f'randomness.seed={seed}', f'checkpoint={weights}']
        run(command, folder / 'finetuning.log', args.threads)


def read_predictions(folder: Path, kind: str) -> dict[str, np.ndarray] | None:
    """Read the predictions of all labelled frames: ``predicted``, ``labels`` and ``clips``."""
    path = folder / ('probe.npz' if kind == 'probe' else 'finetuning/out_of_fold.npz')
    if not path.is_file():
        return None
    if kind == 'probe':
        return dict(np.load(path))
    table = Predictions.read(path)
    known = table['gt_label'] >= 0
    return dict(
        predicted=table['pred_label'][known],
        labels=table['gt_label'][known],
        clips=np.array(table.clips)[table.clip_id[known]],
    )


def count_confusions(predictions: dict[str, np.ndarray]) -> np.ndarray:
    """Count the frames of each raw video by label and prediction, (V, C, C)."""
    videos = np.array([raw_video(str(clip)) for clip in predictions['clips']])
    names, index = np.unique(videos, return_inverse=True)
    counts = np.zeros((len(names), len(EXPRESSIONS), len(EXPRESSIONS)))
    np.add.at(counts, (index, predictions['labels'], predictions['predicted']), 1)
    return counts


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Compute macro-F1 in % from confusions (..., C, C), over the classes that have frames."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    labelled = counts.sum(-1)
    f1 = 2 * hits / np.maximum(labelled + counts.sum(-2), 1)
    return 100 * f1.sum(-1) / np.maximum((labelled > 0).sum(-1), 1)


def compare(ours: list[np.ndarray], theirs: list[np.ndarray], draws: int = 2000) -> list[float]:
    """Return the mean difference of macro-F1 and its 95 % interval.

    Raw videos and seeds of pre-training are drawn with replacement, the same for both methods.

    Args:
        ours, theirs: Confusions (V, C, C) of each seed, of the same seeds.
        draws: Number of bootstrap samples.

    >>> same = [np.ones((3, 8, 8))]
    >>> compare(same, same, 10)
    [0.0, 0.0, 0.0]
    """
    rng = np.random.default_rng(0)
    first, second = np.stack(ours), np.stack(theirs)  # (S, V, C, C)
    seeds, videos = first.shape[:2]
    differences = []
    for _ in range(draws):
        times = np.bincount(rng.integers(videos, size=videos), minlength=videos)
        chosen = rng.integers(seeds, size=seeds)
        scores = [
            macro_f1(np.einsum('v,svij->sij', times, side[chosen])) for side in (first, second)
        ]
        differences.append((scores[0] - scores[1]).mean())
    mean = (macro_f1(first.sum(1)) - macro_f1(second.sum(1))).mean()
    return [float(mean), *np.quantile(differences, [0.025, 0.975]).tolist()]


def report(folder: Path, seeds: int) -> str:
    """Return the tables of a world: scores, and differences with intervals."""
    lines = []
    for kind in ('probe', 'finetuning'):
        counts: dict[str, dict[int, np.ndarray]] = {}
        for method in (*METHODS, *FACTORS):
            read = {
                seed: read_predictions(folder / f'{method}_seed{seed}', kind)
                for seed in range(seeds)
            }
            found = {k: count_confusions(v) for k, v in read.items() if v is not None}
            if found or method in METHODS:
                counts[method] = found
        lines += [f'| {kind} | seeds | macro-F1 |', '| --- | --- | --- |']
        for method, runs in counts.items():
            scores = [float(macro_f1(one.sum(0))) for one in runs.values()]
            text = ', '.join(f'{score:.2f}' for score in scores) or 'not run'
            lines.append(f'| {METHODS.get(method, method)} | {len(scores)} | {text} |')
        lines += ['', '| difference | seeds | mean | 95 % interval |', '| --- | --- | --- | --- |']
        for one, other in itertools.combinations(counts, 2):
            both = sorted(counts[one].keys() & counts[other].keys())
            if both:
                sides = ([counts[method][seed] for seed in both] for method in (one, other))
                mean, low, high = compare(*sides)
                cells = f'{len(both)} | {mean:+.2f} | {low:+.2f} to {high:+.2f}'
                names = ' - '.join(METHODS.get(method, method) for method in (one, other))
                lines.append(f'| {names} | {cells} |')
        lines.append('')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('world', choices=POINTS, help='drawn or real faces')
    parser.add_argument('--faces', default='data/faces', help='folder of unlabelled faces')
    parser.add_argument(
        '--data-root', default='data/affwild2_mini', help='root of the labelled frames'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/pretraining'))
    parser.add_argument('--methods', nargs='+', choices=[*METHODS, *FACTORS], default=list(METHODS))
    parser.add_argument('--seeds', type=int, default=3, help='number of seeds, from 0')
    parser.add_argument('--steps', type=int, default=5000)
    parser.add_argument('--threads', type=int, default=1, help='threads of a run')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='bfloat16; slower on processors without instructions for it',
    )
    parser.add_argument('--probe-only', action='store_true', help='leave out the fine-tuning')
    parser.add_argument('--report', action='store_true', help='only print the tables')
    args = parser.parse_args()
    args.work_dir = args.work_dir.absolute()
    args.faces, args.data_root = (os.path.abspath(path) for path in (args.faces, args.data_root))
    torch.set_num_threads(args.threads)
    folder = args.work_dir / args.world
    if not args.report:
        init_default_scope('mmpretrain')
        for seed in range(args.seeds):
            for method in args.methods:
                (folder / f'{method}_seed{seed}').mkdir(parents=True, exist_ok=True)
                run_method(method, seed, args)
                with atomic_write(folder / 'results.md') as draft:
                    draft.write_text(report(folder, args.seeds))
    print(report(folder, args.seeds))


if __name__ == '__main__':
    main()
