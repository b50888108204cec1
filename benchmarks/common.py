"""Parts that loading.py and training.py share: drawn crops, measurement, the table of results."""

import argparse
import json
import logging
import multiprocessing as mp
import os
import platform
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import abaw_mm  # noqa: F401  patches what the import of mmpretrain needs

# isort: split
import cv2
import mmengine
import mmpretrain
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from abaw_mm.datasets.annotations import HEADER

TRAIN_SET = 'annotations/EXPR_Recognition_Challenge/Train_Set'
CROPS = 'cropped_aligned'
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


def make_crops(root: Path, clips: int = 8, lines: int = 250) -> None:
    """Draw smooth 112x112 JPEGs, about as large as the crop of a face, with annotations."""
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


# ----------------------------------------------------------------------------------- measurement


def measure_rss() -> float:
    """Return the resident set size, in MB."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def measure_peak_rss() -> float:
    """Return the peak resident set size of the process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def time_best(
    times: int, action: Callable[[], object], prepare: Callable[[int], object] | None = None
) -> float:
    """Return the seconds of the fastest call of ``action``.

    Args:
        times: Number of calls.
        action: Function to time.
        prepare: Function that is called before each call with its number, untimed.
    """
    seconds = []
    for number in range(times):
        if prepare:
            prepare(number)
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def time_decoding(paths: list[str], decode: Callable[[str], object]) -> float:
    """Return the frames per second of CPU time of decoding files in a loop."""
    cv2.setNumThreads(0)
    for path in paths[:200]:  # warm up
        decode(path)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for path in paths:
            decode(path)
        seconds.append(time.process_time() - start)
    return len(paths) / min(seconds)


def measure_cpu_time(pids: Iterable[int]) -> float:
    """Return the CPU seconds that this process and others have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        ticks += int(fields[11]) + int(fields[12])  # user and system
    return time.process_time() + ticks / os.sysconf('SC_CLK_TCK')


def time_opencv(root: Path) -> float:
    """Return the frames/s of reading and decoding all crops with OpenCV on one core."""

    def decode(path: str) -> None:
        cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)

    return time_decoding(sorted(map(str, (root / CROPS).glob('*/*.jpg'))), decode)


def run_in_fresh_process(function: Callable, *args: object) -> object:
    """Run a function in a new process and return its result."""
    context = mp.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=_put_result, args=(queue, function, args))
    process.start()
    result = queue.get()
    process.join()
    return result


def _put_result(queue: mp.Queue, function: Callable, args: tuple) -> None:
    logging.disable(logging.INFO)
    # Workers are forked as in training. Spawned ones, the default here, sometimes abort when Python
    # ends while their thread sends a batch.
    mp.set_start_method('fork', force=True)
    queue.put(function(*args))


# ----------------------------------------------------------------------------- the table of results


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Make a parser with the shared options."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='under 5 minutes on two cores')
    parser.add_argument('--json', type=Path, help='write the rows to this file')
    return parser


def describe_machine() -> str:
    """Return CPU and versions, for the record."""
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
    """Print each ratio when it is known and a table at the end, and write the rows as JSON.

    Args:
        title: What was measured; the machine is added.
        explained: Description and unit of each row. Lower is better except for frames/s.
        figures: Name, stock figure and our figure of each row.
        path: JSON file.
    """
    console = Console(width=118)
    console.print(f'{title}; {describe_machine()}', highlight=False)
    table = Table('row', 'what', 'unit', 'stock', 'ours', 'ratio', box=None, pad_edge=False)
    rows = []
    for name, stock, ours in figures:
        what, unit = explained[name]
        ratio = ours / stock if unit == 'frames/s' else stock / ours
        rows.append(dict(name=name, stock=stock, ours=ours, ratio=ratio))
        table.add_row(name, what, unit, f'{stock:.4g}', f'{ours:.4g}', f'{ratio:.2f}')
        console.print(f'{name} {ratio:.2f}', style='dim', highlight=False)
        if path:  # after each row, so that a run that is stopped leaves those before
            path.write_text(json.dumps(rows, indent=1) + '\n')
    console.print(table)
