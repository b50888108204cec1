"""Extract features of every frame with a network of another package."""

import os
from collections.abc import Sequence

import numpy as np
from mmengine.device import get_device

from abaw_mm.apis.config import load_config, set_loader_flags
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.apis.features.clip_rows import SPLITS, check_loaders, find_rows
from abaw_mm.apis.features.write_clips import build_loader_options, write_clips
from abaw_mm.compat.cpu import end_process_group
from abaw_mm.datasets import FeatureFolder
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.encoders import Encoder, ViewAverage, build_encoder

PIPELINE = [dict(type='LoadFaceCrop')]


@end_process_group()
def encode_crops(
    config: str,
    encoder: str | Encoder,
    out: str,
    weights: str | None = None,
    split: Sequence[str] = SPLITS,
    scales: Sequence[float] = (1.0,),
    mirror: bool = False,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | None = None,
    batch_size: int | None = None,
    work_dir: str | None = None,
    amp: bool = False,
    pin_memory: bool = True,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> FeatureFolder:
    """Write features of every crop, as ``tools/extract_features.py --encoder`` does.

    The crops are those of the config, read by the same code as in training. Only its data loaders
    are used. Size and normalisation are those of the encoder.

    Args:
        config (str): Path of the config of a classifier.
        encoder (str | Encoder): ``timm:NAME``, ``mmpretrain:NAME``, ``onnx:FILE``, or an encoder.
        out (str): Folder for the features, see :class:`FeatureFolder`.
        weights (str, optional): Path of the weights of a network by name.
        split (Sequence[str]): Data loaders whose clips to extract.
        scales (Sequence[float]): Parts of the crops to average over, see :class:`ViewAverage`.
        mirror (bool): Whether to average with the mirror image.
        size, mean, std, output: See :func:`build_encoder`.
        batch_size (int, optional): Frames per batch. Defaults to the test data loader's.
        work_dir, amp, pin_memory, cfg_options, launcher: As in :func:`extract_features`.

    Returns:
        FeatureFolder: The folder.

    Raises:
        ImportError: If the package of the encoder is not installed.
        FileNotFoundError: If the config, the weights or the data do not exist.
        ValueError: If the weights do not fit, or the folder has other features.
        OSError: If another extraction uses the folder, or it cannot be written to.
    """
    if batch_size is not None and batch_size < 1:
        raise InvalidValueError(f'--batch-size: got {batch_size}, expected at least 1')
    cfg = load_config(config, launcher, work_dir, cfg_options)
    check_loaders(cfg)
    set_loader_flags(cfg, pin_memory, persistent_workers=False)
    if isinstance(encoder, str):  # before the crops are listed, which may take minutes
        encoder = build_encoder(encoder, weights, size, mean, std, output, get_device())
    views = ViewAverage(encoder, scales, mirror, amp)
    with convert_config_errors(config):
        rows = find_rows(cfg, split, PIPELINE)
    first = next(dataset for dataset, clip_rows in rows.values() if len(clip_rows))
    meta = dict(
        config=encoder.name,
        sha256=encoder.sha256,
        layer=encoder.layer,
        amp=amp,
        dim=views([first[0]['img']]).shape[1],
        data_root=os.path.realpath(os.path.expanduser(first.data_root)),
        pipeline=PIPELINE,
        data_preprocessor=views.meta,
    )
    loader = dict(build_loader_options(cfg), collate_fn=_take_images)
    frames = cfg.test_dataloader.batch_size if batch_size is None else batch_size
    return write_clips(out, meta, rows, views, loader, frames)


def _take_images(samples: Sequence[dict]) -> list[np.ndarray]:
    """Collate samples to their pictures, which may differ in size."""
    return [sample['img'] for sample in samples]
