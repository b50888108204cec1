#!/usr/bin/env python
"""Speed, size and scores of an exported network, compared with its checkpoint on the CPU.

    python benchmarks/exported_networks.py CONFIG CHECKPOINT --calibration DIR [--json rows.json]

Four ways: torch in float32 and in bfloat16, onnxruntime in float32 and with 8 bits. Each is timed
from decoded uint8 crops to probabilities, preprocessing included, with all cores, at batches of 1
and 16. The ways alternate, and the fastest of the rounds counts, because other processes can only
add time; 'shared' is the median of the rounds over the fastest, 1 on an idle machine. Each way then
scores the test set of the config once.

The name is not onnx.py, which would hide the package of this name from this folder's scripts.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from common import describe_machine
from mmengine.registry import DefaultScope

from abaw_mm.apis import export_onnx, load_config, test
from abaw_mm.apis.deploy.export_onnx import MAIN_METRICS, SIZE
from abaw_mm.apis.deploy.read_crops import read_test_crops
from abaw_mm.apis.inference.crop_scorer import CropScorer

TORCH, BF16, ONNX, INT8 = 'torch float32', 'torch bfloat16', 'onnxruntime float32', 'int8'
BATCHES = (1, 16)
CROPS = 16  # that a round scores, in batches


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--calibration', required=True, metavar='DIR', help='training crops')
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--json', type=Path, help='write the rows to this file')
    return parser.parse_args()


def export(args: argparse.Namespace, folder: Path) -> tuple[dict[str, str], dict[str, float]]:
    """Export the network in both precisions; return the file and the score of each way."""
    files = {ONNX: str(folder / 'float32.onnx'), INT8: str(folder / 'int8.onnx')}
    export_onnx(args.config, args.checkpoint, files[ONNX])
    found = export_onnx(
        args.config, args.checkpoint, files[INT8], int8=True, calibration=args.calibration
    )
    print(f'largest difference in float32 on {found.compared}: {found.difference:.1e}')
    name = MAIN_METRICS[found.info.task]
    return files, {ONNX: found.scores['float32'][name], INT8: found.scores['int8'][name]}


def make_scorers(args: argparse.Namespace, files: dict[str, str]) -> tuple[CropScorer, dict]:
    """Return the checkpoint's scorer, and for each way a function that scores crops."""
    cfg = load_config(args.config)

    def score_by_torch(scorer: CropScorer, is_bf16: bool, crops: object) -> None:
        context = torch.autocast('cpu', torch.bfloat16) if is_bf16 else nullcontext()
        with context:
            scorer(crops)

    plain = CropScorer(cfg, args.checkpoint, 'cpu')
    plain.model.mixed_precision = False
    scorers: dict[str, Callable] = {
        TORCH: partial(score_by_torch, plain, False),
        BF16: partial(score_by_torch, plain, True),
    }
    scorers.update({way: CropScorer(cfg, None, 'cpu', onnx=file) for way, file in files.items()})
    return plain, scorers


def time_ways(scorers: dict[str, Callable], crops: object, rounds: int) -> dict[str, dict]:
    """Return milliseconds per crop of each way and batch, the fastest and the median round."""
    seconds: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds + 1):
        for way, score in scorers.items():
            for batch in BATCHES:
                start = time.perf_counter()
                for at in range(0, CROPS, batch):
                    score(crops[at : at + batch])
                if number:  # the first warms up
                    took = (time.perf_counter() - start) / CROPS * 1e3
                    seconds.setdefault((way, batch), []).append(took)
    return {
        way: {
            f'batch_{batch}': dict(
                ms=min(seconds[way, batch]),
                shared=statistics.median(seconds[way, batch]) / min(seconds[way, batch]),
            )
            for batch in BATCHES
        }
        for way in scorers
    }


def score_torch(args: argparse.Namespace, task: str) -> dict[str, float]:
    """Return the metric of the track of the checkpoint on the config's test set."""
    is_fast = load_config(args.config).model.type == 'FrameClassifier'
    ways = {
        TORCH: dict(cfg_options={'model.mixed_precision': False} if is_fast else None),
        BF16: dict(amp=not is_fast),
    }
    with tempfile.TemporaryDirectory() as folder:
        return {
            way: test(args.config, args.checkpoint, folder, **keywords)[MAIN_METRICS[task]]
            for way, keywords in ways.items()
        }


def main() -> None:
    args = parse_args()
    logging.disable(logging.WARNING)
    print(f'{" ".join(os.path.basename(x) for x in (args.config, args.checkpoint))}; ', end='')
    print(f'{describe_machine()}; load {os.getloadavg()[0]:.1f}; {torch.get_num_threads()} threads')
    with (
        tempfile.TemporaryDirectory() as folder,
        DefaultScope.overwrite_default_scope('mmpretrain'),
    ):
        files, scores = export(args, Path(folder))
        plain, scorers = make_scorers(args, files)
        crops = read_test_crops(load_config(args.config), SIZE, CROPS)
        rows = time_ways(scorers, crops, args.rounds)
        scores |= score_torch(args, scorers[ONNX].task)
        weights = sum(tensor.nbytes for tensor in plain.model.state_dict().values())
        for way, row in rows.items():
            row['mb'] = (Path(files[way]).stat().st_size if way in files else weights) / 1e6
            row['score'] = scores[way]
    print('| way | ms per face, batch 1 | batch 16 | ratio 1 | ratio 16 | shared | MB | score |')
    for way, row in rows.items():
        ms = [row[f'batch_{batch}']['ms'] for batch in BATCHES]
        base = [rows[TORCH][f'batch_{batch}']['ms'] for batch in BATCHES]
        shared = max(row[f'batch_{batch}']['shared'] for batch in BATCHES)
        print(
            f'| {way} | {ms[0]:.2f} | {ms[1]:.2f} | {base[0] / ms[0]:.2f} | {base[1] / ms[1]:.2f} '
            f'| {shared:.2f} | {row["mb"]:.1f} | {row["score"]:.4f} |'
        )
    print(f'load at the end: {os.getloadavg()[0]:.1f}')
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + '\n')


if __name__ == '__main__':
    main()
