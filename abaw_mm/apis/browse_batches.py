"""Collect the images of training batches as the model sees them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch.utils.data import DataLoader

from abaw_mm.apis.config import load_config, set_loader_flags
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.compat.cpu import adapt_cfg_to_cpu
from abaw_mm.engine.hooks.frame_batch_hook import add_keys
from abaw_mm.errors import InvalidValueError
from abaw_mm.structures import is_frame_batch
from abaw_mm.structures.tasks import (
    ACTION_UNITS,
    AFFECTS,
    EXPRESSIONS,
    TASKS,
    VALENCE_AROUSAL,
    Target,
)

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class BatchImage:
    """A sample of a batch.

    Attributes:
        views (list): One (H, W, 3) uint8 RGB image; several for pre-training.
        caption (str): Clip and frame, or the file, and the annotation.
    """

    views: list[np.ndarray]
    caption: str


def browse_batches(
    config: str, split: str = 'train', num_images: int = 32, cfg_options: dict | None = None
) -> list[BatchImage]:
    """Collect the first samples of a data loader, as the data preprocessor gives them to the model.

    The normalisation is undone. With frame batches, crop and flip are those of the first steps of a
    training with the config's seed. The local warp of ContraWarping is drawn by
    ``tools/visualization/draw_local_warp.py``.

    Args:
        config (str): Path of the config. Its model is not built.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'train'``.
        num_images (int): Number of samples; fewer if the data has fewer. Defaults to 32.
        cfg_options (dict, optional): Overrides of the config.

    Raises:
        MissingFileError: If the config or the data does not exist.
        InvalidValueError: If the config has a mistake, or no images in this split.
    """
    cfg = load_config(config, cfg_options=cfg_options)
    _check_split(cfg, split)
    set_loader_flags(cfg, pin_memory=False, persistent_workers=False)
    cfg = adapt_cfg_to_cpu(cfg, 'none')
    images: list[BatchImage] = []
    seed = cfg.get('randomness', {}).get('seed')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        with convert_config_errors(config):
            preprocessor = _build_preprocessor(cfg)
            loader = Runner.build_dataloader(cfg[f'{split}_dataloader'], seed=seed)
        classes = getattr(loader.dataset, 'metainfo', {}).get('classes', EXPRESSIONS)
        for batch in _prepare_batches(loader, preprocessor, training=split == 'train'):
            images += _read_batch(batch, preprocessor, classes)
            if len(images) >= num_images:
                break
    return images[:num_images]


def _check_split(cfg: Config, split: str) -> None:
    loader = cfg.get(f'{split}_dataloader')
    if loader is None:
        raise InvalidValueError(f'{cfg.filename}: got no {split}_dataloader; give another --split')
    if loader.dataset.type == 'ClipFeatureDataset':
        raise InvalidValueError(
            f'{cfg.filename}: got the config of a model over features, expected one over images'
        )


def _build_preprocessor(cfg: Config) -> Any:
    options = dict(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})
    options.setdefault('type', 'ClsDataPreprocessor')
    if cfg.model.get('train_cfg') is not None:
        options.setdefault('batch_augments', cfg.model.train_cfg)
    return MODELS.build(options)


def _prepare_batches(loader: DataLoader, preprocessor: Any, training: bool) -> Iterator[dict]:
    for step, batch in enumerate(loader):
        if is_frame_batch(batch) and training:
            add_keys(batch, loader, step)
        yield preprocessor(batch, training)


def _read_batch(batch: dict, preprocessor: Any, classes: tuple[str, ...]) -> Iterator[BatchImage]:
    views = batch['inputs'] if isinstance(batch['inputs'], (list, tuple)) else [batch['inputs']]
    restored = [_restore(view, preprocessor) for view in views]
    for row, caption in enumerate(_make_captions(batch['data_samples'], classes)):
        yield BatchImage([view[row] for view in restored], caption)


def _restore(inputs: torch.Tensor, preprocessor: Any) -> np.ndarray:
    """Undo the normalisation of a batch (N, 3, H, W); returns (N, H, W, 3) uint8 RGB."""
    mean, std = getattr(preprocessor, 'mean', 0), getattr(preprocessor, 'std', 1)
    pixels = (inputs.float() * std + mean).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    is_rgb = getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', False))
    return (pixels if is_rgb else pixels.flip(-1)).numpy()


def _make_captions(samples: list, classes: tuple[str, ...]) -> Iterator[str]:
    for sample in samples:
        if not is_frame_batch(sample):
            clip = sample.get('clip')
            name = f'{clip}/{sample.get("frame_no")}' if clip else sample.get('img_path', '')
            known = {
                t: sample.get(t.ground_truth) for t in TASKS['mtl'] if t.ground_truth in sample
            }
            yield _make_caption('/'.join(str(name).split('/')[-2:]), known, classes)
            continue
        columns = {t: sample.get(t.ground_truth) for t in TASKS['mtl'] if t.ground_truth in sample}
        for row, (clip, number) in enumerate(
            zip(sample.clip_id.tolist(), sample.frame_no.tolist(), strict=True)
        ):
            name = f'{sample.clips[clip]}/{number}'
            known = {target: values[row] for target, values in columns.items()}
            yield _make_caption(name, known, classes)


def _make_caption(
    name: str, annotations: Mapping[Target, torch.Tensor], classes: tuple[str, ...]
) -> str:
    """Write the name of a frame and what is annotated, one line for each target."""
    lines = [name]
    for target, values in annotations.items():
        own = values.reshape(-1).tolist()
        if target.hidden in own:
            continue
        if target.is_class:
            lines.append(classes[own[0]])
        elif target == VALENCE_AROUSAL:
            lines.append(
                ' '.join(f'{name[0]} {x:+.2f}' for name, x in zip(AFFECTS, own, strict=True))
            )
        else:
            units = [name[2:] for name, x in zip(ACTION_UNITS, own, strict=True) if x]
            lines.append(f'AU {" ".join(units) or "none"}')
    return '\n'.join(lines)
