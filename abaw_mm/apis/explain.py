"""Attention maps of faces by a config and its checkpoint."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS, DefaultScope
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch import nn

from abaw_mm.apis.config import load_config
from abaw_mm.apis.load_classifier import load_classifier
from abaw_mm.checkpoints.load import check_checkpoint_path
from abaw_mm.datasets.annotations import EXPRESSIONS
from abaw_mm.datasets.unwrap_datasets import frame_datasets
from abaw_mm.errors import shorten
from abaw_mm.visualization.attention.attention_maps import (
    attention_maps,
)
from abaw_mm.visualization.attention.explained_face import ExplainedFace

IMAGES = ('.jpg', '.jpeg', '.png')


def explain(
    config: str,
    checkpoint: str,
    sources: Sequence[str],
    class_name: str | None = None,
    num_frames: int = 8,
    cfg_options: dict | None = None,
) -> list[ExplainedFace]:
    """Find where on faces a classifier looks.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path or URL of its checkpoint.
        sources (Sequence[str]): Each an image, a folder of images, or a clip of the config's
            validation set, whose labels are told.
        class_name (str, optional): Class to explain. Defaults to each face's predicted one.
        num_frames (int): Evenly spaced frames of each clip and folder; all, where it has fewer.
        cfg_options (dict, optional): Overrides of the config.

    Raises:
        FileNotFoundError: For a config, checkpoint or image that is not there.
        ValueError: For a checkpoint that does not fit, or an unknown clip or class.
    """
    cfg = load_config(config, cfg_options=cfg_options)
    check_checkpoint_path(checkpoint, 'CHECKPOINT')
    if num_frames < 1:
        raise ValueError(f'--num-frames: got {num_frames}, expected at least 1')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = cfg.get('val_dataloader')
        if loader is None:
            raise ValueError(
                f'{config}: got no val_dataloader, expected one, whose pipeline prepares the '
                'faces; give a config of fine-tuning, such as configs/res18_srp_affwild2.py'
            )
        model = load_classifier(cfg, checkpoint)
        names = class_names(model.head.num_classes)
        if class_name is not None and class_name not in names:
            raise ValueError(
                f'--class: got {class_name!r}, expected one of {", ".join(names)}, the classes of '
                f'{config}'
            )
        index = None if class_name is None else names.index(class_name)
        infos = find_faces(loader, sources, num_frames)
        pipeline = Compose([TRANSFORMS.build(step) for step in _pipeline(loader, config)])
        collate = loader.get('collate_fn')
        collate = pseudo_collate if collate is None else FUNCTIONS.get(collate['type'])
        return [_explain(model, pipeline, collate, info, names, index) for info in infos]


def class_names(number: int) -> list[str]:
    """Names of the first classes of Aff-Wild2; numbers beyond them.

    >>> class_names(9)[6:]
    ['Surprise', 'Other', '8']
    """
    return [*EXPRESSIONS, *map(str, range(len(EXPRESSIONS), number))][:number]


def evenly_spaced(number: int, wanted: int) -> list[int]:
    """``wanted`` of ``number`` rows, each in the middle of its share; all, where there are fewer.

    >>> evenly_spaced(100, 4), evenly_spaced(2, 4)
    ([12, 37, 62, 87], [0, 1])
    """
    wanted = min(wanted, number)
    return [(2 * i + 1) * number // (2 * wanted) for i in range(wanted)]


def find_faces(loader: dict, sources: Sequence[str], num_frames: int) -> list[dict]:
    """What the pipeline needs of each face: ``img_path``, ``clip``, ``frame_no``, ``sample_idx``.

    Args:
        loader (dict): The validation set's; only read where a source is no path.
        sources (Sequence[str]): Images, folders and clips.
        num_frames (int): Of each folder and clip.

    Returns:
        list: With ``gt_label`` where it is known.

    Raises:
        FileNotFoundError: For an image that is not there, or a folder without any.
        ValueError: For an unknown clip.
    """
    infos, datasets = [], None
    for source in sources:
        path = Path(source)
        if path.is_file():
            infos.append(_info(path))
        elif path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES)
            if not found:
                raise FileNotFoundError(
                    f'{source}: got a folder without images, expected files that end in '
                    f'{", ".join(IMAGES)}; name another folder'
                )
            infos += [_info(found[i]) for i in evenly_spaced(len(found), num_frames)]
        elif path.suffix.lower() in IMAGES or os.sep in source:
            raise FileNotFoundError(
                f'{source}: got no such file or folder, expected an image (.jpg, .png), a folder '
                "of images, or the name of a clip of the config's validation set; correct the path"
            )
        else:
            if datasets is None:
                datasets = frame_datasets(DATASETS.build(loader['dataset']))
            infos += _clip(datasets, source, num_frames)
    return infos


def _info(path: Path) -> dict:
    return dict(img_path=str(path), clip=path.resolve().parent.name, frame_no=0, sample_idx=0)


def _clip(datasets: Sequence, clip: str, num_frames: int) -> list[dict]:
    """Evenly spaced frames of a clip."""
    known = []
    for dataset in datasets:
        dataset.full_init()
        frames = dataset.frames
        shown = np.unique(frames.clip_id)  # a clip may be listed and have no labelled frame
        known += [frames.clips[i] for i in shown]
        if clip in frames.clips:
            rows = np.flatnonzero(frames.clip_id == list(frames.clips).index(clip))
            if len(rows):
                return [
                    dataset.get_data_info(int(rows[i]))
                    for i in evenly_spaced(len(rows), num_frames)
                ]
    raise ValueError(
        f'{clip!r}: got no such file, folder or clip, expected an image, a folder of images, or '
        f'one of the {len(known)} clips with labelled frames of the validation set: '
        f'{shorten(known)}'
    )


def _pipeline(loader: dict, config: str) -> list:
    pipeline = loader['dataset'].get('pipeline')
    if pipeline is None:
        raise ValueError(
            f'{config}: got a {loader["dataset"]["type"]} as validation set, expected one dataset '
            'with a pipeline; set val_dataloader.dataset to one of its parts'
        )
    return pipeline


def _explain(
    model: nn.Module,
    pipeline: Compose,
    collate: object,
    info: dict,
    names: list[str],
    index: int | None,
) -> ExplainedFace:
    with torch.no_grad():
        batch = model.data_preprocessor(collate([pipeline(dict(info))]), False)
    maps = attention_maps(model, batch['inputs'], index)
    scores, truth = maps.scores[0].tolist(), info.get('gt_label')
    return ExplainedFace(
        name=f'{info["clip"]}/{Path(info["img_path"]).name}',
        image=seen_image(batch['inputs'][0], model.data_preprocessor),
        truth=None if truth is None else names[truth] if truth < len(names) else str(truth),
        predicted=names[int(np.argmax(scores))],
        explained=names[int(maps.classes[0])],
        probabilities=dict(zip(names, scores, strict=True)),
        maps=maps,
    )


def seen_image(inputs: torch.Tensor, preprocessor: nn.Module) -> np.ndarray:
    """A network's input as a picture again: (3, H, W), normalised -> (H, W, 3) uint8 RGB."""
    if hasattr(preprocessor, 'mean'):
        inputs = inputs * preprocessor.std + preprocessor.mean
    if not preprocessor.to_rgb:
        inputs = inputs.flip(0)
    return inputs.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
