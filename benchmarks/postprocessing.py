"""Time the search of postprocessing on drawn predictions of the size of the validation set.

    python benchmarks/postprocessing.py

Three models of 70 clips with 4000 frames each, 280,000 frames, and a fourth one for the gate; all
steps of search_postprocessing.py. The scores do not depend on the labels, so that the folds choose
different settings, which takes longest, and no gain is real.
"""

import argparse
import os
import time

import numpy as np
from common import describe_machine

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.search_postprocessing import (
    Candidates,
    list_weights,
    search_postprocessing,
)


def draw_predictions(seed: int, clips: int, frames: int) -> Predictions:
    """Draw random scores, and labels that change every 200 frames, the same for all models."""
    label = (
        np.random.default_rng(0).integers(0, 8, (clips, frames // 200)).repeat(200, axis=1).ravel()
    )
    logit = np.random.default_rng(seed).normal(0, 2, (len(label), 8))
    score = np.exp(logit)
    score = (score / score.sum(axis=1, keepdims=True)).astype(np.float32)
    columns = dict(gt_label=label, pred_label=score.argmax(axis=1), pred_score=score)
    return Predictions(
        [f'video{i:03d}' for i in range(clips)],
        np.repeat(np.arange(clips, dtype=np.int32), frames),
        np.tile(np.arange(1, frames + 1, dtype=np.int32), clips),
        columns,
    )


def main() -> None:
    """Print the time and the gains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--clips', type=int, default=70)
    parser.add_argument('--frames', type=int, default=4000, help='per clip, a multiple of 200')
    args = parser.parse_args()
    *parts, second = (draw_predictions(seed, args.clips, args.frames) for seed in (1, 2, 3, 4))
    candidates = Candidates(weights=list_weights(3), gate=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95))
    wall, cpu = time.perf_counter(), time.process_time()
    result = search_postprocessing(parts, ['1', '2', '3'], candidates, second)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(describe_machine())
    print(f'{len(second)} frames, 3 models and a gate: {wall:.1f} s, {cpu:.1f} s of CPU time')
    print(f'load of the machine: {os.getloadavg()[0]:.1f}')
    for stage in result.stages:
        gains = (stage.claimed - result.before, stage.held_out - result.before)
        print(f'{stage.step}: gain claimed {gains[0]:+.2f}, on clips left out {gains[1]:+.2f}')
    print(result.choice.flags)


if __name__ == '__main__':
    main()
