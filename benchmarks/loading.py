#!/usr/bin/env python
"""From the list of frames to a batch and a score: ours against stock mmpretrain, in one run.

    python benchmarks/loading.py [--quick] [--stored] [--json rows.json]

A tree of annotations of 2.7 million frames in 594 clips is generated, the size of Aff-Wild2. Stock
mmpretrain gets the same frames as the list file of its ``CustomDataset``, a line a frame. Crops are
only listed (the folders are empty, their names are handed over), so that the disk costs neither
side anything; with ``--stored`` empty files are made, and ours lists them. For the input speed, two
thousand 112x112 JPEGs are drawn.

Every figure comes from a fresh process. A ratio above 1 means that ours is better. The rows are
described in ``ROWS``. ``--quick`` takes a tenth of the frames for the scores and leaves out the
memory of ranks and workers; the list has its full size all the same.
"""

import argparse
import json
import logging
import multiprocessing as mp
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import abaw_mm  # noqa: F401  mends what mmpretrain's import needs

# isort: split
import cv2
import mmengine
import mmpretrain
import numpy as np
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmpretrain.datasets import CustomDataset
from mmpretrain.evaluation import SingleLabelMetric
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from abaw_mm.datasets import (
    AffWild2Dataset,
    FrameStrideSampler,
)
from abaw_mm.datasets.annotations import (
    EXPRESSIONS,
    HEADER,
)
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.crop_packer import pack_crops
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.datasets.samplers.keyed_random import random_keys
from abaw_mm.evaluation import MacroF1
from abaw_mm.models import FrameDataPreprocessor
from abaw_mm.structures import FrameBatch, collate_frames

ROWS = {  # name: what it is, the unit
    'open_cold': ('open the list for the first time', 's'),
    'open_warm': ('open it again', 's'),
    'peak_memory': ('opening it again, growth of the resident set at its highest', 'MB'),
    'peak_memory_cold': ('the same for the first time', 'MB'),
    'memory_2x4': ('2 ranks with 4 workers each, proportional set of all, by the list', 'MB'),
    'draw': ('an epoch: one frame of ten; stock shuffles all, it has no stride', 's'),
    'loader': ('batches on one core, which a worker and the main process share', 'frames/s'),
    'loader_2': ('batches from 2 workers on all cores', 'frames/s'),
    'loader_crops': ('as loader, with what the data preprocessor does', 'frames/s'),
    'decode_limit': ('decoding alone (stock) against loader, one core', 'frames/s'),
    'lmdb': ('read and decode from files (stock) and from a packed store, one core', 'frames/s'),
    'macro_f1_time': ('scores of all frames to a macro-F1, arrays of a batch', 's'),
    'macro_f1_memory': ('the same, growth of the resident set at its highest', 'MB'),
    'macro_f1_frames': ('macro_f1_time for the plain pipeline, an object a frame', 's'),
}
CLIPS, LINES = 594, 4546
TRAIN_SET = 'annotations/EXPR_Recognition_Challenge/Train_Set'
CROPS = 'cropped_aligned'
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
STOCK_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.6, 1.0),
        aspect_ratio_range=(1.0, 1.0),
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
BATCH = 128

# ------------------------------------------------------------------------------------- the data


def make_tree(root: Path, stored: bool) -> None:
    """Annotations of 2.7 million frames, and the same as a list of paths for stock mmpretrain."""
    rng = np.random.default_rng(0)
    (root / TRAIN_SET).mkdir(parents=True)
    with (root / 'list.txt').open('w') as paths:
        for clip in range(CLIPS):
            name = f'{clip}-60-1920x1080'
            labels = rng.integers(0, 8, LINES).tolist()
            lines = '\n'.join([HEADER, *map(str, labels)])
            (root / TRAIN_SET / f'{name}.txt').write_text(lines + '\n')
            (root / CROPS / name).mkdir(parents=True)
            files = [f'{name}/{number:05d}.jpg' for number in range(1, LINES + 1)]
            paths.writelines(f'{x} {y}\n' for x, y in zip(files, labels, strict=True))
            for file in files if stored else []:
                os.close(os.open(root / CROPS / file, os.O_CREAT | os.O_WRONLY))
    time.sleep(2.5)  # what changed just now is not cached


def make_crops(root: Path, clips: int = 8, lines: int = 250) -> None:
    """Smooth 112x112 pictures, about as many bytes as a crop of a face."""
    rng = np.random.default_rng(0)
    (root / TRAIN_SET).mkdir(parents=True)
    with (root / 'list.txt').open('w') as paths:
        for clip in range(clips):
            (root / CROPS / f'{clip}').mkdir(parents=True)
            labels = rng.integers(0, 8, lines).tolist()
            text = '\n'.join([HEADER, *map(str, labels)])
            (root / TRAIN_SET / f'{clip}.txt').write_text(text + '\n')
            for number, label in enumerate(labels, start=1):
                coarse = rng.integers(0, 255, (14, 14, 3), dtype=np.uint8)
                image = Image.fromarray(coarse).resize((112, 112), Image.Resampling.BICUBIC)
                image.save(root / CROPS / f'{clip}/{number:05d}.jpg', quality=95)
                paths.write(f'{clip}/{number:05d}.jpg {label}\n')


def list_without_files() -> None:
    """Let every clip's folder hold all its crops, by names that are there already."""
    names = [f'{number:05d}.jpg' for number in range(1, LINES + 1)]
    CropFolder.names = lambda self, clip: names


def ours(root: Path, **kwargs) -> AffWild2Dataset:
    dataset = AffWild2Dataset(data_root=str(root), ann_file=TRAIN_SET, **kwargs)
    dataset.full_init()
    return dataset


def stock(root: Path, pipeline: tuple | list = ()) -> CustomDataset:
    return CustomDataset(
        data_root=str(root),
        ann_file='list.txt',
        data_prefix=CROPS,
        pipeline=pipeline,
        classes=EXPRESSIONS,
    )


# ------------------------------------------------------------------------------ opening, drawing


def resident() -> float:
    """Resident set now, in MB."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def highest_resident() -> float:
    """Resident set at its highest since the process began, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def opening(root: Path, is_ours: bool, stored: bool) -> dict[str, float]:
    """Seconds and MB of opening the list, of which nothing was read before in this process."""
    if not stored:
        list_without_files()
    before, start = resident(), time.perf_counter()
    dataset = (ours if is_ours else stock)(root)
    seconds = time.perf_counter() - start
    assert len(dataset) == CLIPS * LINES
    return dict(seconds=seconds, memory=highest_resident() - before)


def drawing(root: Path, is_ours: bool, stored: bool) -> float:
    """Seconds that an epoch's draw takes, the best of five."""
    if is_ours:
        if not stored:
            list_without_files()
        sampler = FrameStrideSampler(ours(root), stride=10, seed=0)
        return best_of(5, lambda: sampler.draw(sampler.epoch), lambda k: sampler.set_epoch(k + 1))
    sampler = DefaultSampler(range(CLIPS * LINES), shuffle=True, seed=0)
    return best_of(5, lambda: iter(sampler), sampler.set_epoch)


def best_of(times: int, action: Callable[[], object], prepare: Callable[[int], object]) -> float:
    seconds = []
    for k in range(times):
        prepare(k)
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def hold(root: Path | None, is_ours: bool, stored: bool, ready: mp.Queue, leave: mp.Event) -> None:
    """A rank with 4 workers that have all used the list; reports the processes, and waits."""
    dataset = range(1000)
    if root is not None:
        if not stored:
            list_without_files()
        dataset = (ours if is_ours else stock)(root)
    loader = DataLoader(
        _Infos(dataset),
        batch_size=500,
        num_workers=4,
        persistent_workers=True,
        collate_fn=len,
        sampler=DefaultSampler(range(2000), shuffle=False),
    )
    sum(loader)
    workers = loader._iterator._workers
    ready.put([os.getpid(), *(worker.pid for worker in workers)])
    leave.wait()


class _Infos(torch.utils.data.Dataset):
    """A dataset's infos alone, spread over all of it; the files are not there."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, row: int):
        get = getattr(self.dataset, 'get_data_info', self.dataset.__getitem__)
        return get(row * 7919 % len(self.dataset))


def memory_of_ranks(root: Path | None, is_ours: bool, stored: bool) -> float:
    """Proportional set of 2 ranks and their workers, in MB: shared pages count once."""
    context = mp.get_context('fork')
    ready, leave = context.Queue(), context.Event()
    ranks = [
        context.Process(target=hold, args=(root, is_ours, stored, ready, leave)) for _ in range(2)
    ]
    for rank in ranks:
        rank.start()
    pids = [pid for _ in ranks for pid in ready.get()]
    total = 0
    for pid in pids:
        for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                total += int(line.split()[1]) / 1e3
    leave.set()
    for rank in ranks:
        rank.join()
    return total


# -------------------------------------------------------------------------------------- loading


def loading(root: Path, is_ours: bool, workers: int, one_core: bool, crops: bool) -> float:
    """Frames/s of a data loader with the training's batches."""
    if one_core:
        os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[0]])
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if is_ours:
        dataset = ours(root, pipeline=[dict(type='LoadFaceCrop')])
        preprocess, collate = FrameDataPreprocessor(**NORM), collate_frames
    else:
        dataset = stock(root, STOCK_PIPELINE)
        preprocess = MODELS.build(dict(type='ClsDataPreprocessor', **NORM))
        collate = pseudo_collate
    sampler = DefaultSampler(range(len(dataset) * 1000), shuffle=False)
    loader = DataLoader(
        _Again(dataset), batch_size=BATCH, num_workers=workers, sampler=sampler, collate_fn=collate
    )
    batches = iter(loader)
    frames, start, warm_up, seconds = 0, 0.0, 10, 6.0
    for step, batch in enumerate(batches):
        if crops:
            if is_ours:
                batch['key'] = random_keys(0, step, np.arange(BATCH))
            preprocess(batch, training=True)
        if step == warm_up:
            frames, start = 0, time.perf_counter()
        elif step > warm_up:
            frames += BATCH
            if time.perf_counter() - start > seconds:
                break
    speed = frames / (time.perf_counter() - start)
    batches._shutdown_workers()  # an endless loader does not end by itself
    return speed


class _Again(torch.utils.data.Dataset):
    """A dataset as often as is asked for."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, row: int):
        return self.dataset[row % len(self.dataset)]


def decoding(root: Path, how: str) -> float:
    """Frames/s of reading and decoding in a loop, on one core."""
    cv2.setNumThreads(0)
    if how == 'opencv':
        paths = sorted(str(path) for path in (root / CROPS).glob('*/*.jpg'))

        def decode(path: str) -> None:
            cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    else:
        dataset = ours(root, data_prefix=CROPS + ('.lmdb' if how == 'lmdb' else ''))
        paths = [dataset.get_data_info(row)['img_path'] for row in range(len(dataset))]
        decode = read_crop
    for path in paths[:200]:
        decode(path)
    seconds = best_of(3, lambda: [decode(path) for path in paths], lambda k: None)
    return len(paths) / seconds


# -------------------------------------------------------------------------------------- scoring


def batches_of_scores(frames: int, as_batch: bool) -> Iterator[list[dict]]:
    """What a model predicts of a set of this size, as mmengine hands it to metrics."""
    generator = torch.Generator().manual_seed(0)
    for start in range(0, frames, BATCH):
        score = torch.softmax(torch.randn(BATCH, 8, generator=generator), 1)
        pred = score.argmax(1, keepdim=True)
        label = torch.randint(8, (BATCH,), generator=generator)
        frame = torch.arange(start, start + BATCH)
        clip, frame_no = frame // LINES, frame % LINES + 1
        if as_batch:
            first = int(clip[0])
            names = [f'{c}-60-1920x1080' for c in range(first, int(clip[-1]) + 1)]
            batch = FrameBatch(
                metainfo=dict(clips=names),
                clip_id=clip - first,
                gt_label=label,
                frame_no=frame_no,
                pred_label=pred[:, 0],
            )
            yield [batch.set_pred_score(score).to_dict()]
            continue
        yield [
            DataSample(metainfo=dict(clip=f'{clip[i]}-60-1920x1080', frame_no=int(frame_no[i])))
            .set_gt_label(label[i : i + 1])
            .set_pred_label(pred[i])
            .set_pred_score(score[i])
            .to_dict()
            for i in range(BATCH)
        ]


def scoring(frames: int, which: str) -> dict[str, float]:
    """Seconds within a metric from all scores to the figures, and MB at the highest."""
    torch.set_num_threads(1)
    metric = SingleLabelMetric(num_classes=8) if which == 'stock' else MacroF1()
    before, seconds = resident(), 0.0
    for batch in batches_of_scores(frames, which == 'batch'):
        start = time.perf_counter()
        metric.process(None, batch)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    metric.evaluate(frames // BATCH * BATCH)
    seconds += time.perf_counter() - start
    return dict(seconds=seconds, memory=highest_resident() - before)


# ------------------------------------------------------------------------------------- the table


def fresh(function: Callable, *args) -> object:
    """Run in a process of its own and return what it returns."""
    context = mp.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=_answer, args=(queue, function, args))
    process.start()
    result = queue.get()
    process.join()
    return result


def _answer(queue: mp.Queue, function: Callable, args: tuple) -> None:
    logging.disable(logging.INFO)
    # Workers as a training has them. By default they would be spawned, as this process was, and
    # Python's end in a worker may meet the thread that sends its batches: 'terminate called ...'.
    mp.set_start_method('fork', force=True)
    queue.put(function(*args))


def measure(quick: bool, stored: bool) -> Iterator[tuple[str, float, float]]:
    """Name, stock and ours of each row."""
    with tempfile.TemporaryDirectory() as folder:
        tree, crops = Path(folder, 'tree'), Path(folder, 'crops')
        make_tree(tree, stored)
        their = fresh(opening, tree, False, stored)
        cold, warm = (fresh(opening, tree, True, stored) for _ in range(2))
        their_warm = fresh(opening, tree, False, stored)
        yield 'open_cold', their['seconds'], cold['seconds']
        yield 'open_warm', their_warm['seconds'], warm['seconds']
        yield 'peak_memory', their_warm['memory'], warm['memory']
        yield 'peak_memory_cold', their['memory'], cold['memory']
        if not quick:
            nothing = fresh(memory_of_ranks, None, True, stored)
            yield (
                'memory_2x4',
                fresh(memory_of_ranks, tree, False, stored) - nothing,
                fresh(memory_of_ranks, tree, True, stored) - nothing,
            )
        yield 'draw', fresh(drawing, tree, False, stored), fresh(drawing, tree, True, stored)

        make_crops(crops)
        # workers, one core, crops; stock's crops happen in the worker
        for name, setting in (
            ('loader', (1, True, False)),
            ('loader_2', (2, False, False)),
            ('loader_crops', (1, True, True)),
        ):
            speed = [fresh(loading, crops, is_ours, *setting) for is_ours in (False, True)]
            yield name, *speed
            if name == 'loader':
                limit = max(fresh(decoding, crops, how) for how in ('opencv', 'files'))
                yield 'decode_limit', limit, speed[1]
        pack_crops(CropFolder(crops / CROPS), str(crops / f'{CROPS}.lmdb'))
        yield 'lmdb', fresh(decoding, crops, 'files'), fresh(decoding, crops, 'lmdb')

    frames = CLIPS * LINES // (10 if quick else 1)
    their, batch, plain = (fresh(scoring, frames, which) for which in ('stock', 'batch', 'frames'))
    yield 'macro_f1_time', their['seconds'], batch['seconds']
    yield 'macro_f1_memory', their['memory'], batch['memory']
    yield 'macro_f1_frames', their['seconds'], plain['seconds']


def machine() -> str:
    """What it ran on, for the record."""
    cpu = platform.processor() or platform.machine()
    if Path('/proc/cpuinfo').is_file():
        models = [
            line.split(': ')[1]
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ]
        cpu = models[0] if models else cpu
    return (
        f'{os.cpu_count()} cores of {cpu}, Python {platform.python_version()}, torch '
        f'{torch.__version__}, NumPy {np.__version__}, OpenCV {cv2.__version__}, mmengine '
        f'{mmengine.__version__}, mmpretrain {mmpretrain.__version__}'
    )


def report(
    title: str,
    explained: dict[str, tuple[str, str]],
    figures: Iterable[tuple[str, float, float]],
    path: Path | None,
) -> None:
    """Print rows of name, stock and ours as they come, then as a table; write them as JSON.

    Args:
        explained: Name to what it is and its unit. Less is better, but for frames/s.
        path: JSON file.
    """
    console = Console(width=118)
    console.print(f'{title}; {machine()}', highlight=False)
    table = Table('row', 'what', 'unit', 'stock', 'ours', 'ratio', box=None, pad_edge=False)
    rows = []
    for name, their, own in figures:
        what, unit = explained[name]
        ratio = own / their if unit == 'frames/s' else their / own
        rows.append(dict(name=name, stock=their, ours=own, ratio=ratio))
        table.add_row(name, what, unit, f'{their:.4g}', f'{own:.4g}', f'{ratio:.2f}')
        console.print(f'{name} {ratio:.2f}', style='dim', highlight=False)
    console.print(table)
    if path:
        path.write_text(json.dumps(rows, indent=1) + '\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='under 5 minutes')
    parser.add_argument('--stored', action='store_true', help='make the files that are listed')
    parser.add_argument('--json', type=Path, help='write the rows to this file')
    args = parser.parse_args()
    report(
        f'{CLIPS * LINES} frames in {CLIPS} clips',
        ROWS,
        measure(args.quick, args.stored),
        args.json,
    )


if __name__ == '__main__':
    main()
