"""Compute attention maps of faces from a config and its checkpoint."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS, DefaultScope
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier
from mmpretrain.registry import DATASETS, TRANSFORMS
from PIL import Image

from abaw_mm.apis.config import load_config
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.apis.load_classifier import load_classifier, name_classes
from abaw_mm.checkpoints.load import check_checkpoint_path
from abaw_mm.datasets.crops.read_picture import find_pictures
from abaw_mm.datasets.unwrap_datasets import find_frame_datasets
from abaw_mm.errors import InvalidValueError, MissingFileError, shorten
from abaw_mm.visualization.attention.attention_maps import attention_maps
from abaw_mm.visualization.attention.explained_face import ExplainedFace


def explain(
    config: str,
    checkpoint: str,
    sources: Sequence[str],
    class_name: str | None = None,
    num_frames: int = 8,
    cfg_options: dict | None = None,
) -> list[ExplainedFace]:
    """Compute where on faces a classifier looks.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path or URL of its checkpoint.
        sources (Sequence[str]): Images, folders of images with their subfolders, and clips of the
            config's validation set. Faces of clips come with their labels.
        class_name (str, optional): Class to explain. Defaults to the predicted class of each face.
        num_frames (int): Number of evenly spaced frames to take from each clip and folder; all, if
            there are fewer.
        cfg_options (dict, optional): Overrides of the config.

    Raises:
        MissingFileError: If the config, the checkpoint or an image does not exist.
        InvalidValueError: If the checkpoint does not fit, or a clip or the class is unknown.
    """
    cfg = load_config(config, cfg_options=cfg_options)
    check_checkpoint_path(checkpoint, 'CHECKPOINT')
    _check_arguments(cfg, num_frames)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = load_classifier(cfg, checkpoint)
        names = name_classes(cfg, model.head.num_classes)
        index = None if class_name is None else _find_class(class_name, names, config)
        with convert_config_errors(config):
            pipeline, collate = _build_loading(cfg)
            infos = find_faces(cfg.val_dataloader, sources, num_frames)
        return [_explain_face(model, pipeline, collate, info, names, index) for info in infos]


def _check_arguments(cfg: Config, num_frames: int) -> None:
    if num_frames < 1:
        raise InvalidValueError(f'--num-frames: got {num_frames}, expected at least 1')
    loader = cfg.get('val_dataloader')
    if loader is None:
        raise InvalidValueError(
            f'{cfg.filename}: got no val_dataloader, whose pipeline prepares the faces; give the '
            'config of a classifier, such as configs/res18_srp_affwild2.py'
        )
    if loader.dataset.get('pipeline') is None:
        raise InvalidValueError(
            f'{cfg.filename}: got a {loader.dataset.type} as validation set, expected a single '
            'dataset with a pipeline; set val_dataloader.dataset to one of its parts'
        )


def _find_class(class_name: str, names: list[str], config: str) -> int:
    if class_name not in names:
        raise InvalidValueError(
            f'--class: got {class_name!r}, expected a class of {config}: {", ".join(names)}'
        )
    return names.index(class_name)


def _build_loading(cfg: Config) -> tuple[Compose, Callable]:
    """Build the pipeline of the validation set and the function that makes batches."""
    loader = cfg.val_dataloader
    pipeline = Compose([TRANSFORMS.build(step) for step in loader.dataset.pipeline])
    collate = loader.get('collate_fn')
    return pipeline, pseudo_collate if collate is None else FUNCTIONS.get(collate['type'])


def space_evenly(number: int, wanted: int) -> list[int]:
    """Choose evenly spaced rows: the middle of each of ``wanted`` parts, or all if there are fewer.

    >>> space_evenly(100, 4), space_evenly(2, 4)
    ([12, 37, 62, 87], [0, 1])
    """
    wanted = min(wanted, number)
    return [(2 * i + 1) * number // (2 * wanted) for i in range(wanted)]


def find_faces(loader: dict, sources: Sequence[str], num_frames: int) -> list[dict]:
    """Collect what a pipeline needs for each face.

    Args:
        loader (dict): Config of the validation data loader. Its dataset is only built if a source
            is not a path.
        sources (Sequence[str]): Images, folders and clips.
        num_frames (int): Number of frames to take from each folder and clip.

    Returns:
        list: Dicts with ``img_path``, ``clip``, ``frame_no``, ``sample_idx``, and ``gt_label``
        where it is known.

    Raises:
        MissingFileError: If an image does not exist, or a folder has none.
        InvalidValueError: If a clip is unknown.
    """
    infos: list[dict] = []
    datasets = None
    for source in sources:
        path = Path(source)
        if path.is_file():
            infos.append(_make_info(path))
        elif path.is_dir():
            found = find_pictures([path])
            infos += [_make_info(Path(found[i])) for i in space_evenly(len(found), num_frames)]
        elif path.suffix.lower() in Image.registered_extensions() or os.sep in source:
            raise MissingFileError(
                f'{source}: got no such file or folder, expected an image (.jpg, .png), a folder '
                "of images, or a clip of the config's validation set; correct the path"
            )
        else:
            if datasets is None:
                datasets = find_frame_datasets(DATASETS.build(loader['dataset']))
            infos += _find_clip(datasets, source, num_frames)
    return infos


def _make_info(path: Path) -> dict:
    return dict(img_path=str(path), clip=path.resolve().parent.name, frame_no=0, sample_idx=0)


def _find_clip(datasets: Sequence, clip: str, num_frames: int) -> list[dict]:
    """Return evenly spaced frames of a clip."""
    known = []
    for dataset in datasets:
        dataset.full_init()
        frames = dataset.frames
        for name, selected in zip(frames.clips, frames.rows_by_clip(), strict=True):
            rows = np.arange(len(frames))[selected]
            if name == clip and len(rows):
                chosen = rows[space_evenly(len(rows), num_frames)]
                return [dataset.get_data_info(row) for row in chosen.tolist()]
            known += [name] if len(rows) else []  # a listed clip may have no labelled frame
    raise InvalidValueError(
        f'{clip!r}: got no such file, folder or clip, expected an image, a folder of images, or '
        f'one of the {len(known)} clips with labelled frames of the validation set: '
        f'{shorten(known)}'
    )


def _explain_face(
    model: ImageClassifier,
    pipeline: Compose,
    collate: Callable,
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
        image=restore_image(batch['inputs'][0], model.data_preprocessor),
        truth=None if truth is None else names[truth] if truth < len(names) else str(truth),
        predicted=names[int(np.argmax(scores))],
        explained=names[int(maps.classes[0])],
        probabilities=dict(zip(names, scores, strict=True)),
        maps=maps,
    )


def restore_image(inputs: torch.Tensor, preprocessor: ClsDataPreprocessor) -> np.ndarray:
    """Turn a network's normalised input (3, H, W) back into an image (H, W, 3), uint8 RGB."""
    if hasattr(preprocessor, 'mean'):
        inputs = inputs * preprocessor.std + preprocessor.mean
    if not preprocessor.to_rgb:
        inputs = inputs.flip(0)
    return inputs.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
