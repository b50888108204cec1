"""Compute features of crops and write them clip by clip."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log
from mmengine.registry import FUNCTIONS
from torch.utils.data import DataLoader

from abaw_mm.apis.features.clip_rows import ClipRows
from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.all_crops import AllCropsDataset
from abaw_mm.datasets.features.feature_folder import CLIPS
from abaw_mm.engine.lock_run_folder import lock_run_folder
from abaw_mm.files import remove_drafts
from abaw_mm.progress import format_time_left, show_progress
from abaw_mm.structures import FrameTable

Compute = Callable[[Any], np.ndarray]  # from a batch of a data loader to (F, D) float32


def build_loader_options(cfg: Config) -> dict[str, Any]:
    """Return the workers, the collate function and the memory of the test data loader."""
    options = dict(cfg.test_dataloader.get('collate_fn', dict(type='pseudo_collate')))
    return dict(
        num_workers=cfg.test_dataloader.get('num_workers', 0),
        collate_fn=partial(FUNCTIONS.get(options.pop('type')), **options),
        pin_memory=cfg.test_dataloader.pin_memory,
    )


def write_clips(
    out: str | os.PathLike,
    meta: Mapping[str, Any],
    rows: ClipRows,
    compute: Compute,
    loader: Mapping[str, Any],
    batch_size: int,
) -> FeatureFolder:
    """Start or continue a folder of features. Several processes share the clips.

    Each batch holds frames of one clip only, so that an interrupted run ends with the same files.

    Args:
        out: The folder.
        meta (dict): How the features are made, see :meth:`FeatureFolder.start`.
        rows (ClipRows): The crops of each clip.
        compute (Callable): Turns a batch into features (F, D), float32.
        loader (dict): Options of the data loader.
        batch_size (int): Frames per batch.

    Raises:
        ValueError: If the folder has other features.
        OSError: If another extraction uses the folder, or it cannot be written to.
    """
    with lock_run_folder(out, '--out'):
        folder = _open_folder(out, meta, rows)
        remaining = _find_remaining(folder, rows)
        _extract_clips(folder, remaining, rows, compute, loader, batch_size)
        barrier()  # a process that exits early would abort those still writing
        frames = sum(len(clip_rows) for _, clip_rows in rows.values())
        print_log(
            f'{out}: {folder.dim} features per frame, {frames} frames of {len(rows)} clips',
            logger='current',
        )
        return folder


def _open_folder(out: str | os.PathLike, meta: Mapping, rows: ClipRows) -> FeatureFolder:
    """Start or continue a folder on rank 0, and open it on all ranks."""
    rank, _ = get_dist_info()
    if rank == 0:
        remove_drafts(Path(out, CLIPS))
        FeatureFolder.start(out, meta).plan(
            FrameTable.from_clips(
                {
                    clip: dataset.frames.frame_no[clip_rows]
                    for clip, (dataset, clip_rows) in rows.items()
                }
            )
        )
    barrier()
    return FeatureFolder.open(out)


def _find_remaining(folder: FeatureFolder, rows: ClipRows) -> list[str]:
    """Return this rank's share of the clips without features."""
    remaining = [clip for clip in sorted(rows) if not folder.has_features(clip)]
    barrier()  # all ranks have looked before one of them writes
    if len(remaining) < len(rows):
        print_log(
            f'{folder.path}: {len(rows) - len(remaining)} of {len(rows)} clips are complete',
            logger='current',
        )
    rank, world_size = get_dist_info()
    return remaining[rank::world_size]


def _extract_clips(
    folder: FeatureFolder,
    clips: Sequence[str],
    rows: ClipRows,
    compute: Compute,
    loader: Mapping,
    batch_size: int,
) -> None:
    """Extract clips and log each with the time left."""
    start, frames_done = time.time(), 0
    total = sum(len(rows[clip][1]) for clip in clips)
    for done, clip in enumerate(clips, 1):
        clip_start, frames = time.time(), len(rows[clip][1])
        _extract_clip(folder, clip, rows[clip], compute, loader, batch_size)
        frames_done += frames
        left = format_time_left(time.time() - start, max(frames_done, 1), total)
        print_log(
            f'{clip}: {frames} frames, {frames / (time.time() - clip_start):.0f} per second; clip '
            f'{done} of {len(clips)}, {left}',
            logger='current',
        )


def _extract_clip(
    folder: FeatureFolder,
    clip: str,
    source: tuple[AllCropsDataset, range],
    compute: Compute,
    loader: Mapping,
    batch_size: int,
) -> None:
    dataset, rows = source
    batches: DataLoader = DataLoader(
        dataset,
        batch_sampler=[list(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)],
        **loader,
    )
    parts = []
    with show_progress(clip) as update:
        for batch in batches:
            parts.append(compute(batch))
            update(len(parts), len(batches))
    folder.write(clip, np.concatenate([np.empty((0, folder.dim), np.float32), *parts]))
