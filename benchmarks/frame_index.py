#!/usr/bin/env python
"""Time and memory of 2.7 million frames: our columns against mmpretrain's own dataset class.

    python benchmarks/frame_index.py [--clips 594] [--frames 4546]

Both get the same labels and the same listing of crops, made up in memory, so that the disk plays
no part. Stock is mmpretrain's ``BaseDataset`` with the same rows as its list of dicts, serialised
as is its default. Each is measured in a process of its own; memory is the growth of the resident
set.
"""

import argparse
import multiprocessing as mp
import resource
import time

import numpy as np

import abaw_mm  # noqa: F401
from abaw_mm.datasets import AffWild2Dataset, FrameStrideSampler
from abaw_mm.datasets.frame_index import join_labels_and_crops


def resident() -> float:
    """Resident set of this process in MB, from /proc where there is one."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def made_up(clips: int, frames: int) -> tuple[dict, dict]:
    """Labels and listings of clips in which every line is labelled and has a crop."""
    rng = np.random.default_rng(0)
    names = [f'{i}-60-1920x1080' for i in range(clips)]
    labels = {name: rng.integers(0, 8, frames).astype(np.int8) for name in names}
    numbers = np.arange(1, frames + 1, dtype=np.int32)
    return labels, {name: (numbers, np.zeros(frames, np.int8)) for name in names}


def ours(clips: int, frames: int, queue: mp.Queue) -> None:
    """Columns, and an epoch's draw."""
    labels, crops = made_up(clips, frames)
    before, start = resident(), time.perf_counter()
    columns = join_labels_and_crops(labels, crops)
    ready = time.perf_counter() - start
    memory = resident() - before
    dataset = AffWild2Dataset('made up', lazy_init=True)
    dataset.frames, dataset._fully_initialized = columns, True
    sampler = FrameStrideSampler(dataset, seed=0)
    start = time.perf_counter()
    sampler.draw(1)
    queue.put((ready, memory, time.perf_counter() - start))


def stock(clips: int, frames: int, queue: mp.Queue) -> None:
    """mmpretrain's ``BaseDataset``, a dict a frame."""
    from mmpretrain.datasets import BaseDataset

    labels, crops = made_up(clips, frames)

    class Stock(BaseDataset):
        METAINFO = {'classes': tuple('abcdefgh')}

        def load_data_list(self) -> list[dict]:
            return [
                dict(img_path=f'data/{clip}/{number:05d}.jpg', gt_label=int(label))
                for clip, column in labels.items()
                for number, label in zip(crops[clip][0], column, strict=True)
            ]

    before, start = resident(), time.perf_counter()
    dataset = Stock('')
    queue.put((time.perf_counter() - start, resident() - before, len(dataset)))


def measure(function, *args) -> tuple:
    """Run in a fresh process."""
    context = mp.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=function, args=(*args, queue))
    process.start()
    result = queue.get()
    process.join()
    return result


def main() -> None:
    """Print both, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--clips', type=int, default=594)
    parser.add_argument('--frames', type=int, default=4546, help='frames a clip')
    args = parser.parse_args()
    our_time, our_memory, draw = measure(ours, args.clips, args.frames)
    stock_time, stock_memory, _ = measure(stock, args.clips, args.frames)
    print(f'{args.clips * args.frames} frames')
    print(f'columns  {our_time:8.3f} s {our_memory:8.1f} MB   epoch draw {1000 * draw:.1f} ms')
    print(f'stock    {stock_time:8.3f} s {stock_memory:8.1f} MB')
    print(f'ratio    {stock_time / our_time:8.1f}x {stock_memory / our_memory:8.1f}x')


if __name__ == '__main__':
    main()
