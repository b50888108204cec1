"""Extract features of every frame with a trained or pre-trained network."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import autocast
from mmpretrain.models import ImageClassifier

from abaw_mm.apis.build_runner import build_runner
from abaw_mm.apis.config import load_config, set_loader_flags
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.apis.features.clip_rows import SPLITS, check_loaders, find_rows
from abaw_mm.apis.features.write_clips import build_loader_options, write_clips
from abaw_mm.apis.load_classifier import fill_classifier
from abaw_mm.checkpoints.load import check_checkpoint_path, get_loaded_sha256
from abaw_mm.compat.cpu import end_process_group
from abaw_mm.datasets import FeatureFolder
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.efficient_conv_bn import enable_efficient_conv_bn_eval

LAYERS = ('backbone', 'neck')


@end_process_group()
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
    verbose: bool = False,
) -> FeatureFolder:
    """Write the features of every frame that has a crop, as ``tools/extract_features.py`` does.

    Images go through the test pipeline, without augmentation. Each batch holds frames of one clip
    only, so that an interrupted run continues with the next clip and ends with the same files.
    Several processes share the clips.

    Args:
        config (str): Path of the config of a classifier.
        checkpoint (str): Path of a checkpoint. For ``'backbone'``, any that the config's
            ``checkpoint`` accepts, including self-supervised ones. For ``'neck'``, one that was
            trained with this config.
        out (str): Folder for the features, see :class:`FeatureFolder`.
        split (Sequence[str]): Data loaders whose clips to extract: ``'train'``, ``'val'``,
            ``'test'``.
        layer (str): ``'backbone'`` for the spatial mean of its last map; ``'neck'`` for the input
            of the head, 2304 numbers with Spatial Reserve Pooling.
        batch_size (int, optional): Frames per batch. Defaults to the test data loader's.
        work_dir (str, optional): Folder for the log, see :func:`load_config`.
        amp (bool): Automatic mixed precision: fp16 with CUDA, bf16 on the CPU.
        pin_memory (bool): Setting of the data loader.
        cfg_options (dict, optional): Overrides of the config.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        verbose (bool): Whether to print the environment, the hooks and the config.

    Returns:
        FeatureFolder: The folder.

    Raises:
        MissingFileError: If the config, the checkpoint or the data does not exist.
        InvalidValueError: If the checkpoint does not fit, or the folder has features of another
            checkpoint, layer or pipeline.
        FileAccessError: If another extraction uses the folder, or it cannot be written to.
    """
    _check_arguments(layer, batch_size)
    cfg = load_config(config, launcher, work_dir, cfg_options)
    _check_checkpoint(checkpoint)
    check_loaders(cfg)
    _check_layer(cfg, layer)
    set_loader_flags(cfg, pin_memory, persistent_workers=False)
    with convert_config_errors(config):
        rows = find_rows(cfg, split)
    network = _Network(_load_model(cfg, checkpoint, layer, verbose), layer, amp)
    collate = build_loader_options(cfg)['collate_fn']
    first = next(dataset for dataset, clip_rows in rows.values() if len(clip_rows))
    meta = dict(
        config=Path(config).stem,
        sha256=get_loaded_sha256(checkpoint),
        layer=layer,
        amp=amp,
        dim=network(collate([first[0]])).shape[1],
        data_root=os.path.realpath(os.path.expanduser(first.data_root)),
        pipeline=cfg.test_dataloader.dataset.pipeline,
        data_preprocessor=cfg.get('data_preprocessor', {}),
    )
    size = cfg.test_dataloader.batch_size if batch_size is None else batch_size
    return write_clips(out, meta, rows, network, build_loader_options(cfg), size)


def _check_arguments(layer: str, batch_size: int | None) -> None:
    if layer not in LAYERS:
        raise InvalidValueError(f'--layer: got {layer!r}, expected one of {", ".join(LAYERS)}')
    if batch_size is not None and batch_size < 1:
        raise InvalidValueError(f'--batch-size: got {batch_size}, expected at least 1')


def _check_checkpoint(checkpoint: str) -> None:
    check_checkpoint_path(checkpoint, 'CHECKPOINT')
    if not os.path.isfile(checkpoint):
        raise InvalidValueError(
            f'CHECKPOINT: got {checkpoint!r}, expected a file, whose checksum is stored with the '
            'features; download it first'
        )


def _check_layer(cfg: Config, layer: str) -> None:
    if layer == 'neck' and cfg.model.get('neck') is None:
        raise InvalidValueError(
            f'--layer neck: the model of {cfg.filename} has no neck; give --layer backbone'
        )


def _load_model(cfg: Config, checkpoint: str, layer: str, verbose: bool) -> ImageClassifier:
    """Build the config's model on its device and load the weights that ``layer`` needs."""
    empty = copy.deepcopy(cfg)
    for name in ('train', 'val', 'test'):  # the Runner only builds the model
        empty[f'{name}_cfg'] = empty[f'{name}_dataloader'] = None
    for name in ('optim_wrapper', 'param_scheduler', 'val_evaluator', 'test_evaluator'):
        empty[name] = None
    empty.load_from, empty.resume = None, False
    model = unwrap_model(build_runner(empty, verbose).model)
    if layer == 'neck':
        fill_classifier(model, cfg, checkpoint)
    else:
        enable_efficient_conv_bn_eval(model, cfg)
        model.backbone.init_cfg = dict(type='SSLPretrained', checkpoint=checkpoint)
        model.backbone.init_weights()
    return model.eval()


class _Network:
    """Compute the features (F, D), float32, of a batch of a data loader."""

    def __init__(self, model: ImageClassifier, layer: str, amp: bool) -> None:
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
