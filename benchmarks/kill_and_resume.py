#!/usr/bin/env python
"""Kill commands at random moments, resume them, and compare the end with an unbroken run.

    python benchmarks/kill_and_resume.py --kills 100 --json kills.json

Every way of training runs with a tiny network on drawn images, with one and two processes and with
no and two workers. All processes of a run are killed with SIGKILL, at a random time or at one of
the tricky moments in ``MOMENTS``; then the run is resumed, until it is complete. A run that was
killed up to three times is equal if all of these are those of the unbroken run: names of the
checkpoints, weights, optimizer state and best score in them, weights of ``best_*`` and of the
exported backbone, and each line of the log, also of steps that were run twice. The extraction of
features and of sound and the packing of crops are killed at random times, and compared byte for
byte. The runs are forked from a process that has imported everything, so that a kill takes seconds.
"""

import argparse
import json
import logging
import multiprocessing as mp
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import abaw_mm  # noqa: F401  patches what the import of mmpretrain needs

# isort: split
import av
import lmdb
import matplotlib.pyplot  # noqa: F401  imported once, not in each run
import mmengine.config.config
import numpy as np
import sklearn.linear_model
import sklearn.pipeline  # noqa: F401
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop, Runner, ValLoop
from mmpretrain.registry import MODELS
from PIL import Image

from abaw_mm.apis import extract_audio_features, extract_features, train
from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.annotations import HEADER
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.datasets.crops.crop_packer import pack_crops
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import ACTION_UNITS

CONFIGS = Path(__file__).parents[1] / 'configs'
ANNOTATIONS = 'annotations/EXPR_Recognition_Challenge'
ITERS, SAVE_EVERY, VALIDATE_EVERY = 12, 4, 2
FEATURES, SOUND = 6, 4  # numbers per frame of the streams, for models over features
OVER_FEATURES = ('temporal', 'gated')
UNCOMPARED = ('time', 'data_time', 'memory')  # entries of the log
MOMENTS = {
    'checkpoint, not yet validated': 'before ValLoop.run',
    'during validation': 'after ValLoop.run_iter',
    'validated, best not saved': 'before CheckpointHook._save_best_checkpoint',
    'best saved, checkpoint not': 'after Runner.save_checkpoint of best_*',
    'before a checkpoint': 'before Runner.save_checkpoint',
    'after a checkpoint': 'after Runner.save_checkpoint',
    'between two steps': 'before IterBasedTrainLoop.run_iter',
}
OWNERS = {owner.__name__: owner for owner in (CheckpointHook, IterBasedTrainLoop, Runner, ValLoop)}

# ------------------------------------------------------------------------------- ways of training

CLASSIFIER = {
    'model.backbone.num_stages': 3,
    'model.backbone.strides': (1, 2, 2),
    'model.backbone.dilations': (1, 1, 1),
    'model.backbone.out_indices': (2,),
    'model.backbone.frozen_stages': 1,
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': 32,
    'model.neck.hidden_channels': 8,
    'model.head.in_channels': 8 * 3 * 3,
    'optim_wrapper.optimizer.lr': 0.05,
}
SELFSUP = {
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': 64,
    'model.neck.hid_channels': 16,
    'model.neck.out_channels': 8,
    'model.head.predictor.in_channels': 8,
    'model.head.predictor.hid_channels': 16,
    'model.head.predictor.out_channels': 8,
    'data_preprocessor.view_size': 32,
    'default_hooks.probe.interval': SAVE_EVERY,
    'default_hooks.probe.num_workers': 0,
    'default_hooks.probe.train_frames_per_class': 1,
    'default_hooks.probe.val_frames': 4,
    'default_hooks.collapse.min_spread': 0.0,
}
WAYS: dict[str, tuple[str, dict]] = {
    'fast': (
        'res18_srp_affwild2',
        {
            **CLASSIFIER,
            'data_preprocessor.crop_size': 112,
            'data_preprocessor.resize_edge': 112,
        },
    ),
    'plain': (
        'res18_srp_affwild2_plain',
        {
            **CLASSIFIER,
            'train_dataloader.dataset.pipeline.1.scale': 112,
            'val_dataloader.dataset.pipeline.1.scale': 112,
            'val_dataloader.dataset.pipeline.2.crop_size': 112,
        },
    ),
    'mtl': (
        'res18_srp_mtl',
        {
            **CLASSIFIER,
            'data_preprocessor.crop_size': 112,
            'data_preprocessor.resize_edge': 112,
        },
    ),
    'contrawarping': ('res18_contrawarping_faces', SELFSUP),
    'byol': ('res18_byol_faces', SELFSUP),
    'simsiam': ('res18_simsiam_faces', SELFSUP),
    'temporal': (
        'temporal_tcn_affwild2',
        {
            'model.backbone.in_channels': FEATURES,
            'model.backbone.channels': 8,
            'model.backbone.num_layers': 2,
            'model.head.in_channels': 8,
            'optim_wrapper.optimizer.lr': 0.02,
        },
    ),
    'gated': (
        'gated_av_affwild2',
        {
            'model.backbone.in_channels': dict(video=FEATURES, audio=SOUND),
            'model.backbone.channels': 8,
            'model.head.in_channels': 8,
            'optim_wrapper.optimizer.lr': 0.02,
        },
    ),
}


def extract(data: Path, work_dir: Path) -> None:
    """Extract the features of all crops with random weights."""
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    extract_features(
        str(CONFIGS / 'res18_srp_demo.py'),
        str(data / 'weights.pth'),
        str(work_dir / 'features'),
        batch_size=2,
        work_dir=str(work_dir / 'log'),
        cfg_options={
            **{f'{loader}.dataset.data_root': str(data) for loader in loaders},
            **{f'{loader}.num_workers': 0 for loader in loaders},
        },
    )


def pack(data: Path, work_dir: Path) -> None:
    """Pack all crops into a store."""
    pack_crops(CropFolder(data / 'cropped_aligned'), str(work_dir / 'crops.lmdb'))


def extract_sound(data: Path, work_dir: Path) -> None:
    """Extract log-mel energies of the sound of all videos."""
    extract_audio_features(data / 'videos', work_dir / 'features', frames=data / 'features')


JOBS: dict[str, Callable[[Path, Path], None]] = {
    'extract': extract,
    'audio': extract_sound,
    'pack': pack,
}


def make_data(root: Path) -> Path:
    """Draw crops with labels, and write videos with sound and the features of two streams."""
    rng = np.random.default_rng(0)
    for split, clips in (('Train_Set', 3), ('Validation_Set', 2)):
        (root / ANNOTATIONS / split).mkdir(parents=True)
        for clip in range(clips):
            name = f'{split[0]}{clip}'
            labels = rng.integers(0, 8, 40)
            text = '\n'.join([HEADER, *map(str, labels)])
            (root / ANNOTATIONS / split / f'{name}.txt').write_text(text + '\n')
            (root / 'cropped_aligned' / name).mkdir(parents=True)
            for number, label in enumerate(labels, start=1):
                pixels = rng.integers(0, 128, (32, 32, 3)) + 16 * label
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(root / 'cropped_aligned' / name / f'{number:05d}.jpg')
    _annotate_all_tracks(root)
    crops = CropFolder(root / 'cropped_aligned')
    _write_features(root / 'features', list_crops([crops], crops.clips()), FEATURES, rng)
    _write_features(root / 'sound', list_crops([crops], crops.clips()[1:]), SOUND, rng)
    (root / 'videos').mkdir()
    for clip in crops.clips():
        _write_video(root / f'videos/{clip}.mkv', 40, rng)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIGS / 'res18_srp_demo.py').model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), root / 'weights.pth')
    return root


def _write_features(path: Path, frames: FrameTable, dim: int, rng: np.random.Generator) -> None:
    """Write random features of all frames, and no frames of the clips that have none."""
    meta = dict(config='res18', sha256='0' * 64, layer='neck', dim=dim)
    folder = FeatureFolder.start(path, meta)
    for clip in folder.plan(frames):
        shape = len(folder.frame_numbers(clip)), dim
        folder.write(clip, rng.standard_normal(shape).astype(np.float16))


def _write_video(path: Path, frames: int, rng: np.random.Generator) -> None:
    """Write a video of noise with sound of noise, 25 pictures and 16000 samples per second."""
    with av.open(str(path), 'w') as container:
        video, audio = container.add_stream('mpeg4', 25), container.add_stream('pcm_s16le', 16000)
        video.width = video.height = 32
        video.pix_fmt, audio.layout = 'yuv420p', 'mono'
        for number in range(frames):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
            samples = rng.integers(-9999, 9999, (1, 640), np.int16)
            sound = av.AudioFrame.from_ndarray(samples, 's16', 'mono')
            sound.sample_rate, sound.pts, sound.time_base = 16000, 640 * number, Fraction(1, 16000)
            container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode())


def _annotate_all_tracks(root: Path) -> None:
    """Write the multi-task annotations; a part of each third row is not annotated."""
    rng = np.random.default_rng(1)
    header = f'image,valence,arousal,expression,{",".join(ACTION_UNITS)}'
    for prefix, file in (('T', 'training_set'), ('V', 'validation_set')):
        rows = [header]
        for path in sorted((root / 'cropped_aligned').glob(f'{prefix}*/*.jpg')):
            number = int(path.stem)
            va = rng.uniform(-1, 1, 2).round(2) if number % 3 else (-5, -5)
            label = rng.integers(0, 8) if number % 3 != 1 else -1
            units = rng.integers(0, 2, 12) if number % 3 != 2 else [-1] * 12
            values = ','.join(map(str, [*va, label, *units]))
            rows.append(f'{path.parent.name}/{path.name},{values}')
        folder = root / 'annotations/MTL_Challenge'
        folder.mkdir(exist_ok=True)
        (folder / f'{file}_annotations.txt').write_text('\n'.join(rows) + '\n')


def make_options(way: str, data: Path, workers: int) -> dict:
    """Return the settings that make a recipe tiny."""
    loaders = ['train_dataloader']
    options = {
        'train_cfg.max_iters': ITERS,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': SAVE_EVERY,
        'log_level': 'WARNING',
        **WAYS[way][1],
    }
    if way in ('fast', 'plain', 'mtl', *OVER_FEATURES):
        options['train_cfg.val_interval'] = VALIDATE_EVERY
        options['default_hooks.logger.log_metric_by_epoch'] = False
        loaders.append('val_dataloader')
    else:
        options['default_hooks.probe.dataset.data_root'] = str(data)
    for loader in loaders:
        faces = loaders == ['train_dataloader']
        options[f'{loader}.dataset.data_root'] = str(data / 'cropped_aligned' if faces else data)
        options[f'{loader}.num_workers'] = workers
        options[f'{loader}.batch_size'] = 4 if loader == 'train_dataloader' else 40
        if way in OVER_FEATURES:
            folders = dict(video=str(data / 'features'), audio=str(data / 'sound'))
            options[f'{loader}.dataset.feature_dir'] = (
                folders if way == 'gated' else folders['video']
            )
            for name, frames in dict(window=8, context=3).items():
                options[f'{loader}.dataset.{name}'] = frames
            if loader == 'train_dataloader':
                options[f'{loader}.dataset.step'] = 4
    return options


# ------------------------------------------------------------------------------------- one attempt


def run_once(
    way: str,
    data: Path,
    work_dir: Path,
    processes: int = 1,
    workers: int = 0,
    moment: tuple[str, int] | None = None,
    seconds: float | None = None,
    **options: object,
) -> int:
    """Start or resume a run in forked processes, kill them if asked to, and return the status.

    Args:
        way: Key of ``WAYS`` or ``JOBS``.
        data: Folder of ``make_data``.
        work_dir: Work dir of the run.
        processes: Number of training processes.
        workers: Number of workers of each data loader.
        moment: Kill at this moment of ``MOMENTS``, and at which time that it comes.
        seconds: Kill after this time.
        **options: Further settings.
    """
    work_dir.mkdir(exist_ok=True)
    if way in JOBS:
        leader = mp.get_context('fork').Process(target=_run_job, args=(way, data, work_dir))
    else:
        settings = {**make_options(way, data, workers), **options}
        leader = mp.get_context('fork').Process(
            target=_lead, args=(WAYS[way][0], work_dir, processes, settings, moment)
        )
    leader.start()
    leader.join(seconds)
    if leader.exitcode is None:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.join()
    return leader.exitcode or 0


def _run_job(job: str, data: Path, work_dir: Path) -> None:
    os.setpgid(0, 0)
    _be_quiet()
    JOBS[job](data, work_dir)


def _be_quiet() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter('ignore')
    sys.stdout = open(os.devnull, 'w')


def _lead(
    config: str, work_dir: Path, processes: int, settings: dict, moment: tuple[str, int] | None
) -> None:
    os.setpgid(0, 0)  # the group that is killed
    if moment:
        _kill_at(*moment)
    if processes == 1:
        return _train(config, work_dir, settings, 'none')
    store = tempfile.mktemp(dir=work_dir.parent)
    children = [
        mp.get_context('fork').Process(
            target=_train_distributed, args=(rank, processes, store, config, work_dir, settings)
        )
        for rank in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    sys.exit(max(abs(child.exitcode or 0) for child in children))


def _train_distributed(
    rank: int, processes: int, store: str, config: str, work_dir: Path, settings: dict
) -> None:
    names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_ADDR='127.0.0.1')
    os.environ.update({name: str(value) for name, value in names.items()})
    dist.init_process_group(
        'gloo', f'file://{store}', timedelta(seconds=60), world_size=processes, rank=rank
    )
    _train(config, work_dir, settings, 'pytorch')
    dist.destroy_process_group()


def _train(config: str, work_dir: Path, settings: dict, launcher: str) -> None:
    _be_quiet()
    # Formatting the config, for each checkpoint, would be two thirds of a run.
    mmengine.config.config.FormatCode = lambda code, **kwargs: (code, True)
    train(
        str(CONFIGS / f'{config}.py'),
        work_dir=str(work_dir),
        resume='auto',
        cfg_options=settings,
        launcher=launcher,
    )


def _kill_at(moment: str, count: int) -> None:
    """Kill this process group when a moment comes for the ``count``-th time."""
    place, name, *only = MOMENTS[moment].replace(' of ', ' ').split()
    owner, attribute = name.split('.')
    original = getattr(OWNERS[owner], attribute)
    left = [count]

    def pass_moment(kwargs: dict) -> None:
        if only and not str(kwargs.get('filename', '')).startswith('best_'):
            return
        left[0] -= 1
        if left[0] == 0 and int(os.environ.get('RANK', 0)) == 0:
            os.killpg(0, signal.SIGKILL)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if place == 'before':
            pass_moment(kwargs)
        result = original(self, *args, **kwargs)
        if place == 'after':
            pass_moment(kwargs)
        return result

    setattr(OWNERS[owner], attribute, method)


# -------------------------------------------------------------------------------------- comparison


def read_log(work_dir: Path) -> dict[tuple[int, bool], dict]:
    """Read the losses and scores of each step from all logs of a work dir.

    Raises:
        ValueError: If a step that was run twice was not the same.
    """
    lines: dict[tuple[int, bool], dict] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for text in path.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # cut by a kill
                continue
            line = {key: value for key, value in line.items() if key not in UNCOMPARED}
            kind = next((key for key in ('loss', 'affwild2/macro_f1') if key in line), 'probe')
            if lines.setdefault((line['step'], kind), line) != line:
                raise ValueError(
                    f'two runs of step {line["step"]}: {line}, {lines[line["step"], kind]}'
                )
    return lines


def read_end(work_dir: Path) -> dict[Any, object]:
    """Read what two equal runs have in common."""
    if (work_dir / 'crops.lmdb').is_dir():
        with lmdb.open(str(work_dir / 'crops.lmdb'), readonly=True, lock=False) as env:
            with env.begin() as transaction:
                return dict(transaction.cursor())
    if (work_dir / 'features').is_dir():
        files = [path for path in (work_dir / 'features').rglob('*') if path.is_file()]
        return {str(path.relative_to(work_dir)): path.read_bytes() for path in files}
    end: dict[str, object] = {'log': read_log(work_dir)}
    for path in sorted(work_dir.glob('*.pth')):
        checkpoint = load_checkpoint_file(path)
        info = checkpoint.get('message_hub', {}).get('runtime_info', {})
        best = {key: value for key, value in info.items() if 'best' in key or 'valid' in key}
        best = {key: str(value).rsplit('/', 1)[-1] for key, value in best.items()}
        end[path.name] = [checkpoint['state_dict'], checkpoint.get('optimizer'), best]
        end[path.name].append(checkpoint.get('param_schedulers'))
    return end


def list_differences(one: Any, other: Any, name: str = '') -> Iterator[str]:
    """Name the places where two nested results differ in one bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys(), key=str):
            if key in one and key in other:
                yield from list_differences(one[key], other[key], f'{name}/{key}')
            else:
                yield f'{name}/{key}: only in one'
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            yield f'{name}: lengths {len(one)}, {len(other)}'
        for place, pair in enumerate(zip(one, other, strict=False)):
            yield from list_differences(*pair, f'{name}/{place}')
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if not torch.equal(one, other):
            yield f'{name}: tensors differ'
    elif one != other:
        yield f'{name}: {one}, {other}'


# -------------------------------------------------------------------------------------- experiment


def kill_and_resume(
    way: str,
    data: Path,
    folder: Path,
    processes: int,
    workers: int,
    kills: int,
    rng: random.Random,
    log: Callable[[str], None] = print,
) -> list[dict]:
    """Kill runs until there were enough kills, and return one row per kill."""
    whole = folder / 'whole'
    start = time.monotonic()
    if run_once(way, data, whole, processes, workers):
        raise RuntimeError(f'{way}: the unbroken run failed')
    duration = time.monotonic() - start
    expected = read_end(whole)
    validates = any(str(name).startswith('best') for name in expected)
    moments = [
        moment
        for moment, place in MOMENTS.items()
        if validates or not ('ValLoop' in place or 'best' in place)
    ]
    rows: list[dict] = []
    run = 0
    while len(rows) < kills:
        work_dir, run = folder / f'run{run}', run + 1
        causes: list[str] = []
        for _ in range(min(rng.randint(1, 3), kills - len(rows))):
            if way in JOBS or rng.random() < 0.5:
                cause, plan = 'random time', dict(seconds=rng.uniform(0.2, 1.0) * duration)
            else:
                cause = rng.choice(moments)
                plan = dict(moment=(cause, rng.randint(1, 3)))
            status = run_once(way, data, work_dir, processes, workers, **plan)
            if status == -signal.SIGKILL:
                causes.append(cause)
            elif status == 0:  # complete before the moment came
                break
            else:
                causes.append(f'{cause} (the resumed run failed)')
                break
        status = run_once(way, data, work_dir, processes, workers)
        try:
            differences = list(list_differences(expected, read_end(work_dir)))
        except ValueError as error:
            differences = [str(error)]
        if status:
            differences.insert(0, f'the last resumed run ended with status {status}')
        for line in differences[:3]:
            log(f'{way} {processes}x{workers} {causes}: {line}')
        case = dict(way=way, processes=processes, workers=workers, equal=not differences)
        rows += [dict(case, cause=cause) for cause in causes]
        if not differences:
            shutil.rmtree(work_dir)
    return rows


def summarize(rows: list[dict]) -> str:
    """Return one line per way and one per cause: equal of all kills."""
    lines = []
    for field in ('way', 'cause'):
        total = Counter(row[field] for row in rows)
        equal = Counter(row[field] for row in rows if row['equal'])
        lines += [f'{name}: {equal[name]} of {total[name]} kills equal' for name in total]
    return '\n'.join(lines)


def main() -> None:
    """Run the experiment; ways that the JSON file already has are not run again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--ways', nargs='+', default=[*WAYS, *JOBS], choices=[*WAYS, *JOBS])
    parser.add_argument('--kills', type=int, default=100, help='for each way')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path, help='write a row for each kill to this file')
    args = parser.parse_args()
    rows = json.loads(args.json.read_text()) if args.json and args.json.is_file() else []
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder, 'data'))
        for way in args.ways:
            combinations = [(1, 0)] if way in JOBS else [(1, 0), (1, 2), (2, 0), (2, 2)]
            for number, (processes, workers) in enumerate(combinations):
                done = [
                    r
                    for r in rows
                    if (r['way'], r['processes'], r['workers']) == (way, processes, workers)
                ]
                if done:
                    continue
                kills = (args.kills + number) // len(combinations)
                place = Path(folder, f'{way}_{processes}_{workers}')
                place.mkdir()
                rng = random.Random(f'{args.seed} {way} {number}')
                rows += kill_and_resume(way, data, place, processes, workers, kills, rng)
                print(summarize([row for row in rows if row['way'] == way]), flush=True)
                if args.json:
                    args.json.write_text(json.dumps(rows, indent=1) + '\n')
    print(summarize(rows))


if __name__ == '__main__':
    main()
