"""Features of every frame from a trained or pre-trained network."""

import copy
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import FUNCTIONS, DefaultScope
from mmengine.runner import Runner, autocast
from mmpretrain.registry import DATASETS
from torch import nn
from torch.utils.data import DataLoader

from abaw_mm import compat
from abaw_mm.apis.config import (
    load_config,
    set_loader_flags,
)
from abaw_mm.checkpoints.load import check_checkpoint_path
from abaw_mm.datasets import FeatureFolder
from abaw_mm.files import sha256

SPLITS = ('train', 'val', 'test')
LAYERS = ('backbone', 'neck')


def extract_features(
    config: str,
    checkpoint: str,
    out: str,
    split: Sequence[str] = SPLITS,
    layer: str = 'backbone',
    batch_size: int | None = None,
    work_dir: str | None = None,
    amp: bool = False,
    pin_memory: bool = True,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> FeatureFolder:
    """Write the features of every frame that has a crop as ``tools/extract_features.py`` does.

    Images pass the test pipeline, without augmentation. Batches do not reach over clips, so that a
    run that was killed goes on with the next clip and comes to the same files. Several processes
    share the clips.

    Args:
        config (str): Path of the config of a classifier.
        checkpoint (str): Path of a checkpoint. For ``'backbone'`` any that the config's
            ``checkpoint`` takes, self-supervised ones as well; for ``'neck'`` one that was trained
            with this config.
        out (str): Folder, see :class:`FeatureFolder`.
        split (Sequence[str]): Of which data loaders' clips, ``'train'``, ``'val'``, ``'test'``.
        layer (str): ``'backbone'``: its last map, averaged over space; ``'neck'``: what the head
            gets, of Spatial Reserve Pooling 2304 numbers.
        batch_size (int, optional): Frames at once. Defaults to the test data loader's.
        work_dir (str, optional): Where the log goes, see :func:`load_config`.
        amp (bool): Automatic mixed precision: fp16 with CUDA, bf16 on the CPU.
        pin_memory (bool): Of the data loader.
        cfg_options (dict, optional): Overrides of the config.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Returns:
        FeatureFolder: The folder.

    Raises:
        FileNotFoundError: If the config, the checkpoint or the data is not there.
        ValueError: If the checkpoint does not fit, or the folder has features of something else.
    """
    if layer not in LAYERS:
        raise ValueError(f'--layer: got {layer!r}, expected one of {", ".join(LAYERS)}')
    if batch_size is not None and batch_size < 1:
        raise ValueError(f'--batch-size: got {batch_size}, expected at least 1')
    cfg = load_config(config, launcher, work_dir, cfg_options)
    check_checkpoint_path(checkpoint, 'CHECKPOINT')
    if not os.path.isfile(checkpoint):
        raise ValueError(
            f'CHECKPOINT: got {checkpoint!r}, expected a file, by whose checksum the features are '
            'known; download it first'
        )
    _check_config(cfg, config, layer)
    set_loader_flags(cfg, pin_memory, persistent_workers=False)
    loader = cfg.test_dataloader
    rows = _rows_of_clips(cfg, split)
    network = _Network(_load_model(cfg, checkpoint, layer, launcher), layer, amp)
    collate = dict(loader.get('collate_fn', dict(type='pseudo_collate')))
    collate = partial(FUNCTIONS.get(collate.pop('type')), **collate)
    first = next(dataset for dataset, its in rows.values() if len(its))
    meta = dict(
        config=Path(config).stem,
        sha256=sha256(checkpoint),
        layer=layer,
        amp=amp,
        dim=network(collate([first[0]])).shape[1],
        data_root=os.path.basename(os.path.abspath(os.path.expanduser(first.data_root))),
        pipeline=loader.dataset.pipeline,
        data_preprocessor=cfg.get('data_preprocessor', {}),
    )
    rank, world_size = get_dist_info()
    if rank == 0:
        FeatureFolder.start(out, meta).plan(
            {clip: dataset.frames.frame_no[its] for clip, (dataset, its) in rows.items()}
        )
    barrier()
    folder = FeatureFolder.open(out)
    todo = [clip for clip in sorted(rows) if not folder.is_whole(clip)]
    barrier()  # all have looked before one writes
    if len(todo) < len(rows):
        print_log(
            f'{out}: {len(rows) - len(todo)} of {len(rows)} clips are there already',
            logger='current',
        )
    size = loader.batch_size if batch_size is None else batch_size
    todo = todo[rank::world_size]
    for done, clip in enumerate(todo, 1):
        dataset, its = rows[clip]
        start = time.time()
        batches = DataLoader(
            dataset,
            batch_sampler=[its[i : i + size] for i in range(0, len(its), size)],
            num_workers=loader.get('num_workers', 0),
            collate_fn=collate,
            pin_memory=loader.pin_memory,
        )
        parts = [network(batch) for batch in batches]
        folder.write(clip, np.concatenate([np.empty((0, folder.dim), np.float32), *parts]))
        print_log(
            f'{clip}: {len(its)} frames, {len(its) / (time.time() - start):.0f} a second; clip '
            f'{done} of {len(todo)}',
            logger='current',
        )
    barrier()  # a process that leaves early aborts those still writing
    frames = sum(len(its) for _, its in rows.values())
    print_log(
        f'{out}: {folder.dim} features a frame, {frames} frames of {len(rows)} clips',
        logger='current',
    )
    return folder


def _check_config(cfg: Config, config: str, layer: str) -> None:
    """Refuse configs without a classifier's parts."""
    if cfg.get('test_dataloader') is None:
        raise ValueError(
            f'{config}: got a config without test_dataloader, expected that of a classifier, such '
            'as configs/res50_srp_affwild2.py; its backbone takes weights of pre-training'
        )
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        kind = cfg[name].dataset.type
        if kind != 'AffWild2Dataset':
            raise ValueError(
                f'{config}: got a {kind} in {name}, expected an AffWild2Dataset, of which each '
                'clip has one folder of crops'
            )
    if layer == 'neck' and cfg.model.get('neck') is None:
        raise ValueError(f'--layer neck: the model of {config} has no neck; give --layer backbone')


def _rows_of_clips(cfg: Config, splits: Sequence[str]) -> dict[str, tuple]:
    """Each clip of the splits, its dataset and its rows there; of two with the same clip the first.

    All see the images as a test does, whatever the split.
    """
    rows = {}
    for split in splits:
        options = dict(cfg[f'{split}_dataloader'].dataset)
        options.pop('indices', None)  # a part of a clip is no clip
        options.update(
            type='AllCropsDataset', pipeline=cfg.test_dataloader.dataset.pipeline, test_mode=True
        )
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            dataset = DATASETS.build(options)
        ends = np.searchsorted(dataset.frames.clip_id, np.arange(len(dataset.frames.clips) + 1))
        for clip, start, end in zip(dataset.frames.clips, ends[:-1], ends[1:], strict=True):
            rows.setdefault(clip, (dataset, range(start, end)))
    return rows


def _load_model(cfg: Config, checkpoint: str, layer: str, launcher: str) -> nn.Module:
    """The config's model on its device, filled as far as ``layer`` needs it, or an error."""
    cfg = copy.deepcopy(cfg)
    for name in ('train', 'val', 'test'):  # the Runner only builds the model
        cfg[f'{name}_cfg'] = cfg[f'{name}_dataloader'] = None
    for name in ('optim_wrapper', 'param_scheduler', 'val_evaluator', 'test_evaluator'):
        cfg[name] = None
    cfg.load_from, cfg.resume = (checkpoint if layer == 'neck' else None), False
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, launcher))
    runner.load_or_resume()  # StrictCheckpointHook compares
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if layer == 'backbone':
        model.backbone.init_cfg = dict(type='SSLPretrained', checkpoint=checkpoint)
        model.backbone.init_weights()  # or an error
    return model.eval()


class _Network:
    """A batch of a loader to its features, (F, D) float32."""

    def __init__(self, model: nn.Module, layer: str, amp: bool) -> None:
        self.model = model
        self.layer = layer
        self.amp = amp

    @torch.no_grad()
    def __call__(self, batch: dict) -> np.ndarray:
        with autocast(enabled=self.amp):
            inputs = self.model.data_preprocessor(batch, training=False)['inputs']
            features = self.model.extract_feat(inputs, stage=self.layer)
        features = features[-1] if isinstance(features, (tuple, list)) else features
        features = features.float()
        if features.dim() > 2:  # a map
            features = features.flatten(2).mean(2)
        return features.cpu().numpy()
