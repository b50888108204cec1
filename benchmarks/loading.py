#!/usr/bin/env python
"""Time and memory from the list of frames to batches and scores, compared with stock mmpretrain.

    python benchmarks/loading.py [--quick] [--stored] [--json rows.json]

The script generates annotations of 2.7 million frames in 594 clips, the size of Aff-Wild2. Stock
mmpretrain receives the same frames as a list file of its ``CustomDataset``, one line per frame. By
default, the folders of the crops are empty and their listing is replaced, so that the file system
does not count. ``--stored`` makes empty files, which our side then lists. The speed of data loaders
is measured with two thousand drawn 112x112 JPEGs.

Each figure comes from a fresh process. A ratio above 1 means that ours is better. ``ROWS``
describes the rows. ``--quick`` uses a tenth of the frames for the scores and omits the memory of
ranks and workers; the list keeps its full size. ``--loaders`` only measures loaders and decoding.

Rows of one core count frames per second of CPU time, of the worker and the main process together.
That is the speed on one idle core, and depends less on what else the machine does.
"""

import multiprocessing as mp
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import numpy as np
import torch
from common import (
    CROPS,
    STOCK_PIPELINE,
    TRAIN_SET,
    make_crops,
    make_parser,
    measure_cpu_time,
    measure_peak_rss,
    measure_rss,
    report,
    run_in_fresh_process,
    time_best,
    time_decoding,
    time_opencv,
)
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmpretrain.datasets import CustomDataset
from mmpretrain.evaluation import SingleLabelMetric
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader, Dataset

from abaw_mm.datasets import AffWild2Dataset, FrameStrideSampler
from abaw_mm.datasets.annotations import HEADER
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.crop_packer import pack_crops
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.datasets.samplers.keyed_random import random_keys
from abaw_mm.evaluation import MacroF1
from abaw_mm.models import FrameDataPreprocessor
from abaw_mm.structures import FrameBatch, collate_frames
from abaw_mm.structures.tasks import EXPRESSIONS

ROWS = {  # name: description, unit
    'open_cold': ('open the list for the first time', 's'),
    'open_warm': ('open it again', 's'),
    'peak_memory': ('growth of the peak resident set, opening it again', 'MB'),
    'peak_memory_cold': ('the same for the first time', 'MB'),
    'memory_2x4': ('proportional set of 2 ranks with 4 workers each, due to the list', 'MB'),
    'draw': ('draw an epoch: one frame in ten; stock shuffles all, it has no stride', 's'),
    'loader': ('batches of one worker, per CPU second of worker and main process', 'frames/s'),
    'loader_2': ('batches of 2 workers on all cores', 'frames/s'),
    'loader_crops': ('like loader, with the data preprocessor', 'frames/s'),
    'decode_limit': ('decoding alone (stock) and loader (ours), one core', 'frames/s'),
    'lmdb': ('read and decode files (stock) and a packed store (ours), one core', 'frames/s'),
    'macro_f1_time': ('macro-F1 of all frames, arrays per batch', 's'),
    'macro_f1_memory': ('growth of the peak resident set in macro_f1_time', 'MB'),
    'macro_f1_frames': ('macro_f1_time with the plain pipeline, one object per frame', 's'),
}
CLIPS, LINES = 594, 4546
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
BATCH = 128

# -------------------------------------------------------------------------------------- datasets


def make_tree(root: Path, stored: bool) -> None:
    """Write annotations of 2.7 million frames, and the list file of stock mmpretrain."""
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
                (root / CROPS / file).touch()
    time.sleep(2.5)  # files that changed just now are not cached


def fake_listing() -> None:
    """Make each clip's folder appear to contain all its crops."""
    names = [f'{number:05d}.jpg' for number in range(1, LINES + 1)]
    CropFolder.names = lambda self, clip: names


def open_ours(root: Path, **kwargs: object) -> AffWild2Dataset:
    dataset = AffWild2Dataset(data_root=str(root), ann_file=TRAIN_SET, **kwargs)
    dataset.full_init()
    return dataset


def open_stock(root: Path, pipeline: tuple | list = ()) -> CustomDataset:
    return CustomDataset(
        data_root=str(root),
        ann_file='list.txt',
        data_prefix=CROPS,
        pipeline=pipeline,
        classes=EXPRESSIONS,
    )


def open_list(root: Path, is_ours: bool, stored: bool) -> Dataset:
    """Open the list of all frames."""
    if is_ours and not stored:
        fake_listing()
    return (open_ours if is_ours else open_stock)(root)


# ------------------------------------------------------------------------------ opening, drawing


def measure_opening(root: Path, is_ours: bool, stored: bool) -> dict[str, float]:
    """Return the seconds and MB of opening the list."""
    before, start = measure_rss(), time.perf_counter()
    dataset = open_list(root, is_ours, stored)
    seconds = time.perf_counter() - start
    assert len(dataset) == CLIPS * LINES
    return dict(seconds=seconds, memory=measure_peak_rss() - before)


def measure_drawing(root: Path, is_ours: bool, stored: bool) -> float:
    """Return the seconds of drawing an epoch, the best of five."""
    if is_ours:
        sampler = FrameStrideSampler(open_list(root, True, stored), stride=10, seed=0)
        return time_best(5, lambda: sampler.draw(sampler.epoch), lambda k: sampler.set_epoch(k + 1))
    sampler = DefaultSampler(range(CLIPS * LINES), shuffle=True, seed=0)
    return time_best(5, lambda: iter(sampler), sampler.set_epoch)


class _Infos(Dataset):
    """Infos of a dataset, spread over all of it, without reading the files."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, row: int):
        get = getattr(self.dataset, 'get_data_info', self.dataset.__getitem__)
        return get(row * 7919 % len(self.dataset))


def _hold_list(
    root: Path | None, is_ours: bool, stored: bool, ready: mp.Queue, leave: Event
) -> None:
    """Use the list in a rank and 4 workers, report their process ids, and wait."""
    dataset = range(1000) if root is None else open_list(root, is_ours, stored)
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


def measure_rank_memory(root: Path | None, is_ours: bool, stored: bool) -> float:
    """Return the proportional set of 2 ranks and their workers in MB; shared pages count once."""
    context = mp.get_context('fork')
    ready, leave = context.Queue(), context.Event()
    ranks = [
        context.Process(target=_hold_list, args=(root, is_ours, stored, ready, leave))
        for _ in range(2)
    ]
    for rank in ranks:
        rank.start()
    pids = [pid for _ in ranks for pid in ready.get()]
    total = 0.0
    for pid in pids:
        for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                total += int(line.split()[1]) / 1e3
    leave.set()
    for rank in ranks:
        rank.join()
    return total


# -------------------------------------------------------------------------------------- loading


class _Endless(Dataset):
    """A dataset that repeats without end."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, row: int):
        return self.dataset[row % len(self.dataset)]


def measure_loading(
    root: Path, is_ours: bool, workers: int, one_core: bool, preprocesses: bool
) -> float:
    """Return the frames/s of a data loader with training batches; of CPU time on one core."""
    if one_core:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if is_ours:
        dataset = open_ours(root, pipeline=[dict(type='LoadFaceCrop')])
        preprocess, collate = FrameDataPreprocessor(**NORM), collate_frames
    else:
        dataset = open_stock(root, STOCK_PIPELINE)
        preprocess = MODELS.build(dict(type='ClsDataPreprocessor', **NORM))
        collate = pseudo_collate
    loader = DataLoader(
        _Endless(dataset),
        batch_size=BATCH,
        num_workers=workers,
        sampler=DefaultSampler(range(len(dataset) * 1000), shuffle=False),
        collate_fn=collate,
    )
    batches = iter(loader)
    pids = [worker.pid for worker in batches._workers]

    def now() -> float:
        return measure_cpu_time(pids) if one_core else time.perf_counter()

    frames, start, warm_up, seconds = 0, 0.0, 10, 6.0
    for step, batch in enumerate(batches):
        if preprocesses:
            if is_ours:
                batch['key'] = random_keys(0, step, np.arange(BATCH))
            preprocess(batch, training=True)
        if step == warm_up:
            start = now()
        elif step > warm_up:
            frames += BATCH
            if now() - start > seconds:
                break
    speed = frames / (now() - start)
    batches._shutdown_workers()  # an endless loader does not stop by itself
    return speed


def measure_reading(root: Path, prefix: str) -> float:
    """Return the frames/s of ``read_crop`` on one core, from a folder or a packed store."""
    dataset = open_ours(root, data_prefix=prefix)
    paths = [dataset.get_data_info(row)['img_path'] for row in range(len(dataset))]
    return time_decoding(paths, read_crop)


# -------------------------------------------------------------------------------------- scoring


def make_predictions(frames: int, as_batch: bool) -> Iterator[list[dict]]:
    """Make the predictions of a dataset as mmengine passes them to metrics."""
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


def measure_scoring(frames: int, which: str) -> dict[str, float]:
    """Return the seconds and MB of a metric.

    Args:
        frames: Number of frames.
        which: ``'stock'``, ``'batch'`` (arrays per batch) or ``'frames'`` (one object per frame).
    """
    torch.set_num_threads(1)
    metric = SingleLabelMetric(num_classes=8) if which == 'stock' else MacroF1()
    before, seconds = measure_rss(), 0.0
    for batch in make_predictions(frames, which == 'batch'):
        start = time.perf_counter()
        metric.process(None, batch)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    metric.evaluate(frames // BATCH * BATCH)
    seconds += time.perf_counter() - start
    return dict(seconds=seconds, memory=measure_peak_rss() - before)


# ----------------------------------------------------------------------------------------- rows


def measure(quick: bool, stored: bool, loaders: bool) -> Iterator[tuple[str, float, float]]:
    """Yield name, stock figure and our figure of each row.

    Args:
        quick: Whether to use fewer frames for the scores, and to omit the memory of ranks.
        stored: Whether the list's files exist.
        loaders: Whether to measure only loaders and decoding.
    """
    with tempfile.TemporaryDirectory() as folder:
        if not loaders:
            yield from measure_list(Path(folder, 'tree'), quick, stored)
        yield from measure_loaders(Path(folder, 'crops'))
    if not loaders:
        yield from measure_metrics(CLIPS * LINES // (10 if quick else 1))


def measure_list(tree: Path, quick: bool, stored: bool) -> Iterator[tuple[str, float, float]]:
    """Yield the rows of opening the list and drawing from it."""
    run = run_in_fresh_process
    make_tree(tree, stored)
    stock = run(measure_opening, tree, False, stored)
    cold, warm = (run(measure_opening, tree, True, stored) for _ in range(2))
    stock_warm = run(measure_opening, tree, False, stored)
    yield 'open_cold', stock['seconds'], cold['seconds']
    yield 'open_warm', stock_warm['seconds'], warm['seconds']
    yield 'peak_memory', stock_warm['memory'], warm['memory']
    yield 'peak_memory_cold', stock['memory'], cold['memory']
    if not quick:
        baseline = run(measure_rank_memory, None, True, stored)
        yield (
            'memory_2x4',
            run(measure_rank_memory, tree, False, stored) - baseline,
            run(measure_rank_memory, tree, True, stored) - baseline,
        )
    yield 'draw', *(run(measure_drawing, tree, is_ours, stored) for is_ours in (False, True))


def measure_loaders(crops: Path) -> Iterator[tuple[str, float, float]]:
    """Yield the rows of data loaders and decoding."""
    run = run_in_fresh_process
    make_crops(crops)
    # Workers, one core, data preprocessor. Workers of stock mmpretrain crop.
    for name, setting in (
        ('loader', (1, True, False)),
        ('loader_2', (2, False, False)),
        ('loader_crops', (1, True, True)),
    ):
        speed = [run(measure_loading, crops, is_ours, *setting) for is_ours in (False, True)]
        yield name, *speed
        if name == 'loader':
            limit = max(run(time_opencv, crops), run(measure_reading, crops, CROPS))
            yield 'decode_limit', limit, speed[1]
    store = f'{CROPS}.lmdb'
    pack_crops(CropFolder(crops / CROPS), str(crops / store))
    yield 'lmdb', *(run(measure_reading, crops, prefix) for prefix in (CROPS, store))


def measure_metrics(frames: int) -> Iterator[tuple[str, float, float]]:
    """Yield the rows of scoring."""
    stock, batch, plain = (
        run_in_fresh_process(measure_scoring, frames, which)
        for which in ('stock', 'batch', 'frames')
    )
    yield 'macro_f1_time', stock['seconds'], batch['seconds']
    yield 'macro_f1_memory', stock['memory'], batch['memory']
    yield 'macro_f1_frames', stock['seconds'], plain['seconds']


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('--stored', action='store_true', help='make the files that are listed')
    parser.add_argument('--loaders', action='store_true', help='only loaders and decoding')
    args = parser.parse_args()
    title = f'{CLIPS * LINES} frames in {CLIPS} clips'
    report(title, ROWS, measure(args.quick, args.stored, args.loaders), args.json)


if __name__ == '__main__':
    main()
